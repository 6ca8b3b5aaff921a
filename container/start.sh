#!/bin/sh
# Starts Corral in a container: with the cluster file that is there, else as a voice backend that speaks and hears, and
# chats through the Ollama of OLLAMA_URL. Words after it are a command instead: `models pull whisper-base`.
#
# CORRAL_CLUSTER  the cluster file (/etc/corral/cluster.yaml)
# CORRAL_HOST     the address to listen on (0.0.0.0, which needs tokens)
# CORRAL_PORT     the port (7433)
# CORRAL_MODELS   models that are fetched first, unless they are there: "whisper-base kokoro-82m-int8"
# OLLAMA_URL      http://ollama:11434
set -eu

[ $# -eq 0 ] || exec corral "$@"
: "${CORRAL_DATA_DIR:?is not set: the folder of the database and the models}"
file=${CORRAL_CLUSTER:-/etc/corral/cluster.yaml}

if [ ! -e "$file" ]; then
    case ${OLLAMA_URL:-http://none} in
        *[!A-Za-z0-9:/._-]*) echo "OLLAMA_URL is not an address: write http://host:port" >&2; exit 2 ;;
        http://* | https://*) ;;
        *) echo "OLLAMA_URL begins with neither http:// nor https://" >&2; exit 2 ;;
    esac
    file=$CORRAL_DATA_DIR/voice.yaml
    mkdir -p "$CORRAL_DATA_DIR"
    {
        echo "apiVersion: corral/v1"
        echo "name: voice"
        echo "nodes: [{name: voice}]"
        echo "engines:"
        echo "  whisper: {}"
        echo "  piper: {}"
        echo "  kokoro: {}"
        echo "  llama: {enabled: false}"
        [ -z "${OLLAMA_URL:-}" ] || echo "  ollama: {instances: [{name: chat, url: \"$OLLAMA_URL\"}]}"
    } >"$file"
fi

for model in ${CORRAL_MODELS:-}; do
    corral models pull "$model"
done
exec corral up --cluster "$file" --host "${CORRAL_HOST:-0.0.0.0}" --port "${CORRAL_PORT:-7433}"
