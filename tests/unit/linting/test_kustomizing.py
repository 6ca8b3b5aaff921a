"""What kustomizations make of their files, seen by what the rules say of it."""

from __future__ import annotations

from corral.linting.corpus import Corpus
from corral.linting.runner import lint
from corral.linting.values import Source

OLLAMA = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: ollama}
spec:
  selector: {matchLabels: {app: ollama}}
  template:
    metadata: {labels: {app: ollama}}
    spec:
      containers:
        - name: ollama
          image: docker.io/ollama/ollama
          env: [{name: URL, value: "http://ollama:11434"}]
          resources: {limits: {nvidia.com/gpu: 1}}
          volumeMounts: [{name: models, mountPath: /root/.ollama}]
      volumes: [{name: models, persistentVolumeClaim: {claimName: models}}]
---
apiVersion: v1
kind: Service
metadata: {name: ollama}
spec: {selector: {app: ollama}, ports: [{port: 11434}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {ports: [{port: 80}]}
"""
RIGHT = """\
images: [{name: docker.io/ollama/ollama, newTag: "1.0"}]
patches:
  - target: {kind: Deployment, name: oll.*}
    patch: |-
      - {op: add, path: /spec/strategy, value: {type: Recreate}}
"""


def sources(**files: str) -> list[Source]:
    return [Source(name=name.replace("__", "/") + ".yaml", text=text) for name, text in files.items()]


def list_findings(*given: Source) -> list[str]:
    return sorted({f"{finding.rule.id} {finding.subject}" for finding in lint(given).findings})


def test_each_overlay_is_judged_for_itself_over_the_base_that_they_share() -> None:
    base = sources(base__kustomization="resources: [all.yaml]", base__all=OLLAMA)
    head = "resources: [../../base]\nnamespace: "
    right = sources(overlays__edge__kustomization=f"{head}edge\n{RIGHT}")
    wrong = sources(overlays__pool__kustomization=f"{head}pool\n")
    assert list_findings(*base, *right) == []
    assert list_findings(*base, *right, *wrong) == ["A02 Deployment pool/ollama", "B11 Deployment pool/ollama"]


def test_a_patch_file_is_no_object_of_its_own() -> None:
    patch = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: ollama}\nspec: {strategy: {type: Recreate}}\n"
    head = 'resources: [all.yaml]\nimages: [{name: docker.io/ollama/ollama, newTag: "1.0"}]\n'
    for how in ("patchesStrategicMerge: [patch.yaml]", "patches: [{path: patch.yaml}]"):
        given = sources(kustomization=head + how, all=OLLAMA, patch=patch)
        assert list_findings(*given) == []
        (view,) = Corpus(given).views
        assert [manifest.name for manifest in view.list_kind("Deployment")] == ["ollama"]


def test_a_prefix_renames_services_and_an_address_that_keeps_the_old_name_is_found() -> None:
    given = sources(kustomization=f"resources: [all.yaml]\nnamePrefix: web-\n{RIGHT}", all=OLLAMA)
    (view,) = Corpus(given).views
    assert [manifest.name for manifest in view.list_kind("Service")] == ["web-ollama", "web-web"]
    assert view.find_named("Service", "default", "ollama") is not None


def test_labels_with_selectors_keep_two_copies_of_one_base_apart() -> None:
    ollama = OLLAMA.replace(
        "metadata: {name: ollama}\nspec:\n", "metadata: {name: ollama}\nspec:\n  strategy: {type: Recreate}\n"
    )
    base = sources(
        base__kustomization="resources: [all.yaml]", base__all=ollama.replace("ollama/ollama", "ollama/ollama:1.0")
    )
    copy = "resources: [../base]\nnamePrefix: {0}-\nlabels: [{{pairs: {{copy: '{0}'}}, includeSelectors: {1}}}]\n"
    both = sources(kustomization="resources: [a, b]")
    apart = sources(a__kustomization=copy.format("a", "true"), b__kustomization=copy.format("b", "true"))
    mixed = sources(a__kustomization=copy.format("a", "false"), b__kustomization=copy.format("b", "false"))
    assert not any(finding.startswith("D03") for finding in list_findings(*base, *both, *apart))
    assert any(finding.startswith("D03") for finding in list_findings(*base, *both, *mixed))


def test_replicas_images_and_deletions_are_applied() -> None:
    given = sources(
        kustomization="resources: [all.yaml]\nreplicas: [{name: ollama, count: 3}]\n"
        "images: [{name: docker.io/ollama/ollama, newName: mirror/ollama, digest: 'sha256:1'}]\n"
        'patches: [{patch: "{kind: Service, metadata: {name: web}, $patch: delete}"}]\n',
        all=OLLAMA,
    )
    (view,) = Corpus(given).views
    (deployment,) = view.list_kind("Deployment")
    assert (deployment.replicas, deployment.tree["spec"]["replicas"].file) == (3, "kustomization.yaml")
    assert [container.image for container in view.containers] == ["mirror/ollama@sha256:1"]
    assert [manifest.name for manifest in view.list_kind("Service")] == ["ollama"]


def test_kustomizations_that_list_each_other_end() -> None:
    given = sources(
        kustomization="resources: [a]", a__kustomization="resources: [../b]", b__kustomization="resources: [../a]"
    )
    assert lint(given).findings == ()


def test_labels_with_selectors_are_written_into_budgets_and_into_nothing_that_selects_not() -> None:
    budget = "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: ollama}\nspec: {minAvailable: 1}\n"
    settings = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {a: b}\n"
    given = sources(
        kustomization="resources: [all.yaml]\nlabels: [{pairs: {copy: a}, includeSelectors: true}]\n",
        all=f"{OLLAMA}---\n{budget}---\n{settings}",
    )
    (view,) = Corpus(given).views
    (budget_copy,) = view.list_kind("PodDisruptionBudget")
    assert budget_copy.tree.follow("spec", "selector", "matchLabels", "copy").raw == "a"
    assert [bool(manifest.tree["spec"]) for manifest in view.list_kind("ConfigMap")] == [False]
    services = {manifest.name: manifest.tree.follow("spec", "selector").keys for manifest in view.list_kind("Service")}
    assert services == {"ollama": {"app", "copy"}, "web": frozenset()}
