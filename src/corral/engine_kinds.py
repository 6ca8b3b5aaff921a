"""The engines, each with every fact that other parts of Corral know about it.

An engine is one entry here and a folder in `corral.engines`. A module that needs a fact asks its kind, or names the
constant (`OLLAMA.name`); an architecture test holds that no other module spells an engine's name. Code is named, not
imported (`module:name`), so that the cluster file's checks do not pay for pydantic, and a worker not for the server.

Belongs here: facts about engines, as values; their shapes are in `corral.engine_facts`.
Does not belong here: what an engine does with a task (`corral.engines`), what a service is in a cluster.
May import: `corral.engine_facts`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from corral.engine_facts import (
    EngineEnvironment,
    EngineKind,
    EngineProgram,
    FileRule,
    HelperProgram,
    Kernels,
    Medium,
    OutputRule,
    ServiceEngine,
    SpeechRule,
    ValueRule,
)

_TEXT_FILE = OutputRule(name="text.txt", media_type="text/plain; charset=utf-8", summary="the text alone")

LLAMA = EngineKind(
    name="llama",
    summary="Writes text, or embeds it, with a GGUF model through a llama.cpp server of its own.",
    medium=Medium.TEXT,
    swaps_models=True,
    served="corral.engines.llama.engine:build_llama",
    library="xllamacpp",
    environments=(EngineEnvironment(variant="cpu", lock="llama.lock"),),
    any_gpu=True,
    examination="corral.engines.llama.builds:examine_builds",
    has_lanes=True,
    inputs="corral.engines.llama.inputs:LlamaInputs",
    text_input="prompt",
    seed_input="seed",
    options="corral.engines.llama.inputs:LlamaOptions",
    needs_model=True,
    files=FileRule(maximum=None, summary="any number; `images` names those to look at"),
    outputs=(
        _TEXT_FILE,
        OutputRule(name="thinking.txt", media_type="text/plain; charset=utf-8", summary="its thoughts, if any"),
        OutputRule(name="embeddings.json", media_type="application/json", summary="one vector per text"),
    ),
    values=(
        ValueRule(name="text", summary="what the model wrote; null where it is too long to keep twice"),
        ValueRule(name="finish_reason", summary="`stop`, `length` at `max_tokens`, or `tool_calls`"),
        ValueRule(name="prompt_tokens", summary="tokens of the prompt, chat template included"),
        ValueRule(name="completion_tokens", summary="tokens that the model wrote"),
        ValueRule(name="tokens_per_second", summary="speed of writing, prompt apart; null when unknown"),
        ValueRule(name="tool_calls", summary="functions that the model called, if any"),
        ValueRule(name="embeddings", summary="how many vectors"),
        ValueRule(name="dimensions", summary="the length of each"),
        ValueRule(name="computed_on", summary="the devices that hold the model, as llama.cpp reports them"),
    ),
)
OLLAMA = EngineKind(
    name="ollama",
    summary="Chats, generates and embeds on Ollama servers, one slot each.",
    medium=Medium.TEXT,
    swaps_models=True,
    adapter="corral.engines.ollama.engine:build_ollama",
    lists_models=True,
    hosts_models=True,
    program=EngineProgram(
        image="ollama/ollama:0.17.4",
        port=11434,
        health_path="/",
        identity=("/api/version", "version"),
        data_path="/root/.ollama",
        # `ubuntu` of its base image; xencon/aixcl#717 runs it so, with a GPU.
        other_user=1000,
        other_data_path="/home/ubuntu/.ollama",
        keeps_state=True,
    ),
    has_lanes=True,
    inputs="corral.engines.ollama.inputs:OllamaInputs",
    text_input="prompt",
    seed_input="options.seed",
    options="corral.engines.ollama.inputs:OllamaOptions",
    model_name="corral.engines.ollama.names:find_model_name",
    needs_model=True,
    files=FileRule(maximum=None, summary="any number; `images` names those to look at"),
    outputs=(
        _TEXT_FILE,
        OutputRule(name="thinking.txt", media_type="text/plain; charset=utf-8", summary="its thoughts, if any"),
        OutputRule(name="embeddings.json", media_type="application/json", summary="one vector per text"),
    ),
    values=(
        ValueRule(name="text", summary="what the model wrote; null where it is too long to keep twice"),
        ValueRule(name="finish_reason", summary="`stop` when the model ended, `length` at `num_predict`"),
        ValueRule(name="prompt_tokens", summary="tokens of the prompt that were not cached"),
        ValueRule(name="completion_tokens", summary="tokens that the model wrote"),
        ValueRule(name="tokens_per_second", summary="speed of writing, prompt apart; null when unknown"),
        ValueRule(name="load_s", summary="how long the model took to load"),
        ValueRule(name="tool_calls", summary="functions that the model called, if any"),
        ValueRule(name="embeddings", summary="how many vectors"),
        ValueRule(name="dimensions", summary="the length of each"),
        ValueRule(name="spilled_bytes", summary="how much of the model is outside the GPU's memory"),
    ),
)
OPENAI = EngineKind(
    name="openai",
    summary="Chats, embeds, speaks, transcribes and draws on servers that speak OpenAI's API.",
    adapter="corral.engines.openai.engine:build_openai",
    lists_models=True,
    program=EngineProgram(
        # vLLM and Speaches, llama-server and LocalAI, LM Studio and stable-diffusion.cpp, SGLang, Kokoro-FastAPI.
        usual_ports=(8000, 8080, 1234, 30000, 8880),
        health_path="/v1/models",
        identity=("/v1/models", "data"),
    ),
    has_lanes=True,
    inputs="corral.engines.openai.inputs:OpenAiInputs",
    text_input="prompt",
    seed_input="seed",
    options="corral.engines.openai.inputs:OpenAiOptions",
    needs_model=True,
    files=FileRule(maximum=None, summary="any number; one to transcribe; `images` names those to look at or to change"),
    outputs=(
        OutputRule(name="text.txt", media_type="text/plain; charset=utf-8", summary="what was written or said"),
        OutputRule(name="thinking.txt", media_type="text/plain; charset=utf-8", summary="its thoughts, if any"),
        OutputRule(name="embeddings.json", media_type="application/json", summary="one vector per text"),
        OutputRule(name="speech.<format>", media_type="by its ending", summary="the speech"),
        OutputRule(name="segments.json", media_type="application/json", summary="segments with times in seconds"),
        OutputRule(name="subtitles.srt", media_type="application/x-subrip", summary="subtitles as SubRip"),
        OutputRule(name="subtitles.vtt", media_type="text/vtt", summary="subtitles as WebVTT"),
        OutputRule(name="image.<ending>", media_type="by its ending", summary="the image: PNG, JPEG or WebP"),
        OutputRule(name="image_<number>.<ending>", media_type="by its ending", summary="each of several images"),
    ),
    values=(
        ValueRule(name="text", summary="what was written or said; null where it is too long to keep twice"),
        ValueRule(name="finish_reason", summary="`stop`, `length` at `max_tokens`, or `tool_calls`"),
        ValueRule(name="prompt_tokens", summary="tokens of the prompt; null where the server does not count"),
        ValueRule(name="completion_tokens", summary="tokens that the model wrote; null likewise"),
        ValueRule(name="tokens_per_second", summary="speed of writing, prompt apart; null when unknown"),
        ValueRule(name="first_token_s", summary="seconds from the request to the first token"),
        ValueRule(name="tool_calls", summary="functions that the model called, if any"),
        ValueRule(name="embeddings", summary="how many vectors"),
        ValueRule(name="dimensions", summary="the length of each"),
        ValueRule(name="language", summary="the language spoken, given or detected; null when unknown"),
        ValueRule(name="duration_s", summary="length of the audio; null when unknown"),
        ValueRule(name="bytes", summary="size of the speech"),
        ValueRule(name="images", summary="how many images"),
        ValueRule(name="revised_prompt", summary="the prompt as the server changed it, if it says so"),
    ),
)
COMFYUI = EngineKind(
    name="comfyui",
    summary="Runs workflows on ComfyUI instances, one slot each.",
    medium=Medium.IMAGES,
    exclusive=True,
    swaps_models=True,
    adapter="corral.engines.comfyui.engine:build_comfyui",
    program=EngineProgram(
        port=8188,
        health_path="/system_stats",
        identity=("/system_stats", "system"),
        data_path="/opt/ComfyUI/models",
        keeps_state=True,
        own_folders=("output", "user"),  # it numbers files by listing the folder (Comfy-Org/ComfyUI#10914)
    ),
    inputs="corral.engines.comfyui.inputs:ComfyUiInputs",
    text_input="prompt",
    seed_input="seed",
    object_inputs=("workflow",),
    needs="corral.engines.comfyui.installed:list_needs",
    look="corral.engines.comfyui.installed:look",
    editor="corral.engines.comfyui.editor.asking:ComfyEditor",
    loads_from_folder=True,
    options="corral.engines.comfyui.inputs:ComfyUiOptions",
    model_name="corral.engines.comfyui.workflow:find_model_name",
    files=FileRule(maximum=None, summary='any number; the workflow names them as `{"file": "<name>"}`'),
    outputs=(
        OutputRule(name="<name on the instance>", media_type="as the instance says", summary="what it saved"),
        OutputRule(
            name="text_<node>_<number>.txt",
            media_type="text/plain; charset=utf-8",
            summary="a text that a node gave out",
        ),
    ),
    values=(
        ValueRule(name="prompt_id", summary="the prompt on the instance: the id of this or an earlier attempt"),
        ValueRule(name="outputs", summary="how many files each node gave, by node id"),
        ValueRule(name="nodes", summary="what each node gave, by node id; a file that is kept has its name, `output`"),
        ValueRule(name="messages", summary="the events of the run, as the instance keeps them"),
        ValueRule(name="execution_s", summary="how long it ran by the instance's clock; null when unknown"),
    ),
)
WHISPER = EngineKind(
    name="whisper",
    summary="Transcribes or translates speech with faster-whisper, in a process of its own.",
    medium=Medium.SPEECH,
    worker="corral.engines.whisper.worker:Whisper",
    library="faster_whisper",
    environments=(
        EngineEnvironment(variant="cpu", lock="whisper.lock"),
        EngineEnvironment(
            variant="cuda",
            lock="whisper-cuda.lock",
            kernels=Kernels(
                library="CTranslate2",
                oldest=(5, 3),
                newest=(8, 6),
                has_intermediate=True,
                source="the fat binaries in libctranslate2.so of the wheel of ctranslate2 4.8.5: machine code for 5.3,"
                " 6.0, 6.1, 7.0, 7.5, 8.0 and 8.6, PTX for 8.6",
            ),
        ),
    ),
    program=EngineProgram(data_path="/models", caches_models=True, uses_hugging_face=True),
    inputs="corral.engines.whisper.inputs:WhisperInputs",
    options="corral.engines.whisper.inputs:WhisperOptions",
    needs_model=True,
    files=FileRule(minimum=1, maximum=1, summary="exactly one audio or video file, under any name"),
    outputs=(
        _TEXT_FILE,
        OutputRule(name="segments.json", media_type="application/json", summary="segments with times in seconds"),
        OutputRule(name="subtitles.srt", media_type="application/x-subrip", summary="subtitles as SubRip"),
        OutputRule(name="subtitles.vtt", media_type="text/vtt", summary="subtitles as WebVTT"),
    ),
    values=(
        ValueRule(name="text", summary="what was said"),
        ValueRule(name="language", summary="the language spoken, given or detected"),
        ValueRule(name="duration_s", summary="length of the audio"),
    ),
)
PIPER = EngineKind(
    name="piper",
    summary="Speaks text with a Piper voice; Piper runs as a separate program.",
    medium=Medium.SPEECH,
    worker="corral.engines.piper.worker:Piper",
    library="piper",
    environments=(EngineEnvironment(variant="cpu", lock="piper.lock"),),
    speech=SpeechRule(
        voice="speaker",
        voices="corral.engines.piper.speakers:list_voices",
        speed="length_scale",
        speed_is_slowness=True,
    ),
    program=EngineProgram(data_path="/models", caches_models=True),
    inputs="corral.engines.piper.inputs:PiperInputs",
    text_input="text",
    options="corral.engines.piper.inputs:PiperOptions",
    needs_model=True,
    outputs=(OutputRule(name="speech.wav", media_type="audio/wav", summary="16-bit mono"),),
    values=(
        ValueRule(name="duration_s", summary="length of the speech"),
        ValueRule(name="sample_rate", summary="samples per second"),
    ),
)
KOKORO = EngineKind(
    name="kokoro",
    summary="Speaks text with Kokoro-82M and its many voices, in a process of its own.",
    medium=Medium.SPEECH,
    worker="corral.engines.kokoro.worker:Kokoro",
    library="onnxruntime",
    helper=HelperProgram(name="espeak-ng", install="install the package `espeak-ng` of your distribution"),
    environments=(EngineEnvironment(variant="cpu", lock="kokoro.lock"),),
    speech=SpeechRule(
        voice="voice",
        voices="corral.engines.kokoro.files:list_voices",
        speed="speed",
        voice_files=(".npy", ".npz", ".bin"),
        check_voice="corral.engines.kokoro.files:read_pack",
    ),
    program=EngineProgram(data_path="/models", caches_models=True),
    inputs="corral.engines.kokoro.inputs:KokoroInputs",
    text_input="text",
    options="corral.engines.kokoro.inputs:KokoroOptions",
    needs_model=True,
    files=FileRule(maximum=1, summary="at most one: a voice of Kokoro as `.npy`, `.npz` or `.bin`"),
    outputs=(OutputRule(name="speech.wav", media_type="audio/wav", summary="16-bit mono, 24,000 samples per second"),),
    values=(
        ValueRule(name="duration_s", summary="length of the speech"),
        ValueRule(name="sample_rate", summary="samples per second"),
        ValueRule(name="voice", summary="the voice that spoke"),
        ValueRule(name="language", summary="how the text was read"),
    ),
)
COMMAND = EngineKind(
    name="command",
    summary="Runs any program; off unless the cluster file turns it on, and only for administrators.",
    any_gpu=True,
    worker="corral.engines.command.worker:Command",
    admin_only=True,
    inputs="corral.engines.command.inputs:CommandInputs",
    files=FileRule(maximum=None, summary="any number; the program finds them in `inputs/` by name"),
    outputs=(
        OutputRule(name="log.txt", media_type="text/plain; charset=utf-8", summary="what it printed, bounded"),
        OutputRule(name="<declared name>", media_type="by its ending", summary="files that `outputs` declares"),
    ),
    values=(ValueRule(name="exit_code", summary="always 0: any other code fails the attempt"),),
    on_by_default=False,
)
JOB = EngineKind(
    name="job",
    summary="Runs an image on a Kubernetes cluster as a Job, which Kueue admits; only for administrators.",
    adapter="corral.engines.job.engine:build_job",
    scheme="kueue",
    has_lanes=True,
    admin_only=True,
    inputs="corral.engines.job.inputs:JobInputs",
    options="corral.engines.job.inputs:JobOptions",
    files=FileRule(maximum=None, summary="any number; the pods find them in `/corral/inputs` by name"),
    outputs=(
        OutputRule(name="log.txt", media_type="text/plain; charset=utf-8", summary="what its pods printed, bounded"),
        OutputRule(name="<declared name>", media_type="by its ending", summary="files that `outputs` declares"),
    ),
    values=(ValueRule(name="job", summary="the Job, as `namespace/name`"),),
)
SLEEP = EngineKind(
    name="sleep",
    summary="Waits, for rehearsals and benchmarks; off unless the cluster file turns it on.",
    any_gpu=True,
    in_process="corral.engines.sleep.engine:SleepingEngine",
    has_lanes=True,
    inputs="corral.engines.sleep.inputs:SleepInputs",
    values=(ValueRule(name="slept_s", summary="seconds that it waited"),),
    on_by_default=False,
)
HOLD = EngineKind(
    name="hold",
    summary="Lends GPUs to a program of the user's own, which `corral hold` starts, until it gives them back.",
    any_gpu=True,
    held="corral.engines.hold.engine:HoldEngine",
    inputs="corral.engines.hold.inputs:HoldInputs",
    values=(
        ValueRule(
            name="ended",
            summary="`released`, `expired` (not renewed in time), `over` (its time was) or `closed` (hours were)",
        ),
    ),
)
CHATTERBOX = EngineKind(
    name="chatterbox",
    summary="Clones the voice of a recording and checks each line; off unless the cluster file turns it on.",
    medium=Medium.SPEECH,
    worker="corral.engines.chatterbox.worker:Chatterbox",
    library="chatterbox",
    environments=(
        EngineEnvironment(
            variant="cuda",
            lock="chatterbox.lock",
            kernels=Kernels(
                library="PyTorch 2.6",
                oldest=(5, 0),
                newest=(9, 0),
                has_intermediate=False,
                source="torch._C._cuda_getArchFlags() of the wheel of torch 2.6.0 (CUDA 12.4): machine code for 5.0,"
                " 6.0, 7.0, 7.5, 8.0, 8.6 and 9.0, and no PTX",
            ),
        ),
    ),
    speech=SpeechRule(
        voice="voice",
        voices="corral.engines.chatterbox.files:list_voices",
        speed=None,
        voice_files=(".wav", ".flac", ".ogg", ".opus", ".m4a", ".mp3"),
        clones=True,
        check_voice="corral.engines.chatterbox.files:check_recording",
    ),
    program=EngineProgram(data_path="/models", caches_models=True, uses_hugging_face=True),
    inputs="corral.engines.chatterbox.inputs:ChatterboxInputs",
    text_input="text",
    seed_input="seed",
    options="corral.engines.chatterbox.inputs:ChatterboxOptions",
    model_options=("hears", "compares"),
    needs_model=True,
    files=FileRule(maximum=1, summary="at most one: a recording of the voice, 3 to 60 s"),
    outputs=(
        OutputRule(name="speech.wav", media_type="audio/wav", summary="16-bit mono, 24,000 samples per second"),
        OutputRule(
            name="checks.json",
            media_type="application/json",
            summary="of each line: `text`, `heard`, `wrong_words`, `similarity`; also where the attempt failed",
        ),
    ),
    values=(
        ValueRule(name="duration_s", summary="length of the speech"),
        ValueRule(name="sample_rate", summary="samples per second"),
        ValueRule(name="lines", summary="how many lines were spoken and checked"),
        ValueRule(name="wrong_words", summary="share of words heard wrongly in the worst line"),
        ValueRule(name="similarity", summary="to the recording's speaker, of the least alike line; null when unknown"),
    ),
    on_by_default=False,
)
INSPECT = EngineKind(
    name="inspect",
    summary="Measures a picture on the processor, without a model.",
    worker="corral.engines.inspect.worker:Inspect",
    inputs="corral.engines.inspect.inputs:InspectInputs",
    files=FileRule(minimum=1, maximum=1, summary="exactly one picture, under any name"),
    values=(
        ValueRule(name="decodable", summary="1, or 0 of a file that is not a picture; then there is nothing else"),
        ValueRule(name="width", summary="pixels"),
        ValueRule(name="height", summary="pixels"),
        ValueRule(name="spread", summary="standard deviation of the brightness, 0 to 127.5; 0 is one colour"),
        ValueRule(name="brightness", summary="its mean, 0 to 255"),
        ValueRule(name="sharpness", summary="variance of the Laplacian of the brightness, at most 1024 pixels a side"),
        ValueRule(name="phash", summary="perceptual hash: 64 bits as 16 hexadecimal digits"),
    ),
)
ONNX = EngineKind(
    name="onnx",
    summary="Makes, enlarges and checks pictures with small models on a processor.",
    medium=Medium.IMAGES,
    worker="corral.engines.onnx.worker:Onnx",
    library="ncnn",
    environments=(EngineEnvironment(variant="cpu", lock="onnx.lock"),),
    inputs="corral.engines.onnx.inputs:OnnxInputs",
    seed_input="seed",
    options="corral.engines.onnx.inputs:OnnxOptions",
    needs_model=True,
    files=FileRule(maximum=1, summary="exactly one picture, under any name; none where the model makes one"),
    outputs=(
        OutputRule(name="picture.png", media_type="image/png", summary="the picture that was made or enlarged"),
        OutputRule(name="checks.json", media_type="application/json", summary="the faces, or the rating"),
    ),
    values=(
        ValueRule(name="width", summary="pixels of the picture that was made or enlarged"),
        ValueRule(name="height", summary="likewise"),
        ValueRule(name="seed", summary="of the face that was made"),
        ValueRule(name="variant", summary="likewise"),
        ValueRule(name="scale", summary="how much larger each side became"),
        ValueRule(name="faces", summary="how many faces; `checks.json` has their boxes"),
        ValueRule(name="face_score", summary="of the most certain face, 0 to 1; 0 where there is none"),
        ValueRule(name="nsfw", summary="how likely the picture is not safe for work, 0 to 1"),
    ),
)
TRAINER = EngineKind(
    name="trainer",
    summary="Trains a LoRA on one or several devices, by a recipe; off unless the cluster file turns it on.",
    program=EngineProgram(data_path="/workspace"),
    worker="corral.engines.trainer.worker:Trainer",
    library="torch",
    environments=(
        EngineEnvironment(
            variant="cuda",
            lock="trainer.lock",
            kernels=Kernels(
                library="PyTorch 2.15",
                oldest=(7, 5),
                newest=(12, 0),
                has_intermediate=False,
                source="torch._C._cuda_getArchFlags() of the wheel of torch 2.15.0 (CUDA 13.2): machine code for 7.5,"
                " 8.0, 8.6, 9.0, 10.0 and 12.0, and no PTX",
            ),
        ),
    ),
    inputs="corral.engines.trainer.inputs:TrainerInputs",
    seed_input="options.seed",
    needs_model=True,
    registers="register_as",
    files=FileRule(minimum=1, maximum=1, summary="one: the data set"),
    outputs=(
        OutputRule(name="lora.gguf", media_type="application/octet-stream", summary="the LoRA, as llama.cpp reads it"),
        OutputRule(
            name="adapter_model.safetensors",
            media_type="application/octet-stream",
            summary="the LoRA, as PEFT, vLLM and Ollama read it",
        ),
        OutputRule(name="adapter_config.json", media_type="application/json", summary="its shape, for PEFT"),
        OutputRule(name="loss.csv", media_type="text/csv", summary="the loss of each step"),
        OutputRule(name="log.txt", media_type="text/plain; charset=utf-8", summary="what was printed, bounded"),
    ),
    values=(
        ValueRule(name="steps", summary="steps of the result"),
        ValueRule(name="steps_done", summary="those and the ones done again after attempts that were lost"),
        ValueRule(name="loss", summary="per token, of the last step"),
        ValueRule(name="devices", summary="how many computed it at the end"),
    ),
    on_by_default=False,
)

ENGINES: Mapping[str, EngineKind] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            *(LLAMA, OLLAMA, OPENAI, COMFYUI),
            *(WHISPER, PIPER, KOKORO),
            *(COMMAND, JOB, SLEEP, HOLD),
            *(CHATTERBOX, INSPECT, ONNX, TRAINER),
        )
    }
)
"""Every engine of the queue by name."""
SERVICE_ENGINES: Mapping[str, ServiceEngine] = MappingProxyType({engine.name: engine for engine in ENGINES.values()})
"""Every engine that a deployed service can run, by name."""
