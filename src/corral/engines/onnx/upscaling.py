"""Enlarges pictures with Real-ESRGAN, in the form of ncnn, on the processor.

A picture is enlarged tile by tile, each with a margin of what is around it, so that memory does not grow with it, and a
cancel is obeyed after each tile. The margin is that of Real-ESRGAN's own program for ncnn (10 pixels).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import ncnn
import numpy as np

from corral.engines.onnx.pictures import Pixels
from corral.work import EngineError, TaskInvalidError

_TILE, _MARGIN = 64, 10
"""Pixels. `realesrgan-x4plus-anime` takes 0.5 GB with tiles of this size."""
_INPUT, _OUTPUT = "data", "output"


class Upscaler:
    """An upscaler that is in memory."""

    def __init__(self, parameters: Path, weights: Path, threads: int) -> None:
        """Load it, and find its scale by a small picture. Raises: TaskInvalidError."""
        library: Any = ncnn  # Any: an extension without stubs
        self._library = library
        self._net = library.Net()
        self._net.opt.use_vulkan_compute = False
        self._net.opt.num_threads = threads
        if self._net.load_param(str(parameters)) or self._net.load_model(str(weights)):
            raise TaskInvalidError(f"ncnn cannot load {parameters.name!r}", hint="fetch the model again")
        self.scale = self._enlarge(np.zeros((16, 16, 3), np.uint8)).shape[0] // 16

    def enlarge(self, picture: Pixels) -> Iterator[tuple[float, Pixels | None]]:
        """Yield after each tile how much is done, 0 to 1, and rows of the large picture where some are complete.

        Blocks between two of them. Raises: EngineError.
        """
        height, width, _ = picture.shape
        around = np.pad(picture, ((_MARGIN, _MARGIN), (_MARGIN, _MARGIN), (0, 0)), "edge")
        tiles = -(-height // _TILE) * -(-width // _TILE)
        done = 0
        for top in range(0, height, _TILE):
            rows = min(_TILE, height - top)
            band = np.empty((rows * self.scale, width * self.scale, 3), np.uint8)
            for left in range(0, width, _TILE):
                columns = min(_TILE, width - left)
                tile = around[top : top + rows + 2 * _MARGIN, left : left + columns + 2 * _MARGIN]
                inner = self._enlarge(tile)[self._margin : -self._margin, self._margin : -self._margin]
                band[:, left * self.scale : (left + columns) * self.scale] = inner
                done += 1
                yield done / tiles, band if left + columns == width else None

    @property
    def _margin(self) -> int:
        return _MARGIN * self.scale

    def _enlarge(self, tile: Pixels) -> Pixels:
        planes = np.ascontiguousarray(tile.transpose(2, 0, 1), dtype=np.float32) / 255
        extractor = self._net.create_extractor()
        failed = extractor.input(_INPUT, self._library.Mat(planes).clone())
        missing, large = (failed, None) if failed else extractor.extract(_OUTPUT)
        if missing:
            raise EngineError("ncnn could not compute the network: it has not Real-ESRGAN's input and output")
        numbers = cast("np.ndarray[Any, Any]", np.array(large))  # Any: as above
        return np.rint(np.clip(numbers, 0, 1) * 255).astype(np.uint8).transpose(1, 2, 0)
