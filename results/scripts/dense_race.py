"""Is there a faster dense option than the suite's? An outsider's race on the same weights:
``python -m sparsebench.results.scripts.dense_race --batch-size 64 --batch-size 1``.

Each option of an outsider calls its library by itself, in a process of its own, with none of the
suite's engines: OpenVINO as it comes, with either performance hint and in every precision, ONNX
Runtime, DeepSparse, PyTorch eager (batch norm fused, channels-last) and compiled, in fp32, under
autocast and in pure bf16. The suite's engines take turns with them in every precision that they
list. Counted is the processor time of all of a process's threads over a visit of a few calls, and
of the visits the least one (see ``native_inference``). Prints one JSON line for each network and
batch size; ends with 1 where an outsider is more than ``--margin`` faster than the suite's best.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import ExitStack
from typing import Annotated, Any

import numpy as np

try:
    import typer
except ImportError:  # under DeepSparse's interpreter only the child runs
    typer = None  # type: ignore[assignment]

OUTSIDE: dict[str, tuple[str, str, dict[str, str]]] = {
    # name -> library, file, how
    "openvino as it comes": ("openvino", "fp32", {}),
    "openvino latency": ("openvino", "fp32", {"PERFORMANCE_HINT": "LATENCY"}),
    "openvino throughput": ("openvino", "fp32", {"PERFORMANCE_HINT": "THROUGHPUT"}),
    "openvino f32": ("openvino", "fp32", {"INFERENCE_PRECISION_HINT": "f32"}),
    "openvino bf16": ("openvino", "fp32", {"INFERENCE_PRECISION_HINT": "bf16"}),
    "openvino f16": ("openvino", "fp32", {"INFERENCE_PRECISION_HINT": "f16"}),
    "openvino int8": ("openvino", "qdq", {}),
    "openvino int8 bf16": ("openvino", "qdq", {"INFERENCE_PRECISION_HINT": "bf16"}),
    "openvino int8 throughput": ("openvino", "qdq", {"PERFORMANCE_HINT": "THROUGHPUT"}),
    "onnxruntime fp32": ("onnxruntime", "fp32", {}),
    "onnxruntime int8": ("onnxruntime", "qdq", {}),
    "deepsparse fp32": ("deepsparse", "fp32", {}),
    "deepsparse int8": ("deepsparse", "integer", {}),
    "torch fp32": ("torch", "module", {}),
    "torch autocast": ("torch", "module", {"precision": "autocast"}),
    "torch bf16": ("torch", "module", {"precision": "bf16"}),
    "torch-compile fp32": ("torch", "module", {"compile": "1"}),
    "torch-compile bf16": ("torch", "module", {"compile": "1", "precision": "bf16"}),
}
_VISIT = 0.02  # seconds that a visit takes at least; below, its clock would not tell


def main(
    backbone: Annotated[list[str] | None, typer.Option(help="Name; may be repeated.")] = None,
    batch_size: Annotated[list[int] | None, typer.Option(help="May be repeated.")] = None,
    size: int = 64,
    threads: int = 1,
    visits: int = 20,
    margin: float = 0.05,
) -> None:
    """Race them; see the module's text."""
    beaten = False
    for name in backbone or ["resnet18/dense"]:
        for batch in batch_size or [64, 1]:
            found = race(name, batch, size, threads, visits)
            print(json.dumps(found), flush=True)
            beaten |= found["outsider_faster"] > 1 + margin
    raise SystemExit(int(beaten))


def race(name: str, batch: int, size: int, threads: int, visits: int) -> dict[str, Any]:
    """Milliseconds a call of every option, by processor time, and the best of either side."""
    from sparsebench.exporters.engines.base import CompileRequest
    from sparsebench.exporters.onnx.export import export_backbone
    from sparsebench.exporters.onnx.quantise_artifact import quantised_artifact
    from sparsebench.exporters.worker.client import WorkerFailed
    from sparsebench.exporters.worker.launch import ENGINES, start_worker
    from sparsebench.exporters.worker.readers import readers_of
    from sparsebench.models.zoo.load import load_backbone

    artifact = export_backbone(load_backbone(name), size=size, readers=readers_of(["deepsparse"]))
    images = np.random.default_rng(0).standard_normal((batch, 3, size, size), dtype=np.float32)
    forms = {"fp32": artifact, "module": artifact}
    for form in ("qdq", "integer"):
        forms[form] = quantised_artifact(artifact, form, "dense race", lambda: images[:64])
    left_out: dict[str, str] = {}
    racers: dict[str, Any] = {}
    with ExitStack() as stack:
        for label, (library, form, how) in OUTSIDE.items():
            try:
                child = _Child(library, forms[form].to_json(), how, batch, threads)
                racers[label] = stack.enter_context(child).visit
            except RuntimeError as error:
                left_out[label] = str(error)
        for engine in ENGINES:
            kind = ENGINES.load(engine)
            for precision in kind.precisions:
                form = getattr(kind, "int8_form", "qdq") if precision == "int8" else "fp32"
                try:
                    worker = stack.enter_context(start_worker(engine, threads=threads))
                    worker.compile(forms[form], CompileRequest(batch, threads, precision))
                except WorkerFailed as failure:
                    left_out[f"suite {engine} {precision}"] = failure.reason
                    continue
                slot = worker.load(images)

                def visit(calls: int, worker: Any = worker, slot: int = slot) -> float:
                    seen = worker.visit(slot, calls=calls, budget=0, most=calls)
                    return float(seen.process_seconds)

                racers[f"suite {engine} {precision}"] = visit
        best = {label: take(3) / 3 for label, take in racers.items()}
        for turn in range(visits):  # there and back again
            for label in list(racers) if turn % 2 else reversed(list(racers)):
                calls = max(1, round(_VISIT / max(best[label], 1e-6)))
                best[label] = min(best[label], racers[label](calls) / calls)
    inside, outside = (
        min((key for key in best if key.startswith("suite ") is ours), key=lambda key: best[key])
        for ours in (True, False)
    )
    return {
        "backbone": name, "batch_size": batch, "size": size, "threads": threads,
        "suite": inside, "outsider": outside,
        "outsider_faster": round(best[inside] / best[outside], 3),
        "ms": {key: round(1e3 * best[key], 3) for key in sorted(best, key=lambda key: best[key])},
        "left_out": left_out,
    }  # fmt: skip


class _Child:
    """An outsider's process, which this file is too, under the library's interpreter."""

    def __init__(
        self, library: str, artifact: dict[str, Any], how: dict[str, str], batch: int, threads: int
    ) -> None:
        from sparsebench.exporters.worker import environments

        python = sys.executable
        if library == "deepsparse":
            python = str(environments.install("neuralmagic"))
        asked = {"library": library, "artifact": artifact, "how": how, "batch": batch}
        self.process = subprocess.Popen(
            [python, __file__, json.dumps({**asked, "threads": threads})],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        self._answer()

    def visit(self, calls: int) -> float:
        """Processor seconds of so many calls."""
        assert self.process.stdin is not None
        print(calls, file=self.process.stdin, flush=True)
        return float(self._answer())

    def _answer(self) -> str:
        assert self.process.stdout is not None
        for line in self.process.stdout:  # libraries print, too
            if line.startswith("raced "):
                return line.removeprefix("raced ").strip()
        raise RuntimeError("it does not run here")

    def __enter__(self) -> _Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()


def _outsider(asked: dict[str, Any]) -> None:
    """The child: make the call, then time it as often as asked."""
    shape = (asked["batch"], *asked["artifact"]["input_shape"])
    images = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    call = _LIBRARIES[asked["library"]](asked, images)
    for _ in range(3):
        call()
    print("raced 0", flush=True)
    for line in sys.stdin:
        start = time.process_time()
        for _ in range(int(line)):
            call()
        print(f"raced {time.process_time() - start}", flush=True)


def _openvino(asked: dict[str, Any], images: Any) -> Any:
    import openvino

    core = openvino.Core()
    model = core.read_model(asked["artifact"]["onnx"])
    model.reshape(list(images.shape))
    settings = {"INFERENCE_NUM_THREADS": asked["threads"], **asked["how"]}
    compiled = core.compile_model(model, "CPU", settings)
    request = compiled.create_infer_request()
    return lambda: request.infer([images], share_inputs=True, share_outputs=True)


def _onnxruntime(asked: dict[str, Any], images: Any) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = asked["threads"]
    session = onnxruntime.InferenceSession(
        asked["artifact"]["onnx"], options, providers=["CPUExecutionProvider"]
    )
    name = session.get_inputs()[0].name
    return lambda: session.run(None, {name: images})


def _deepsparse(asked: dict[str, Any], images: Any) -> Any:
    import deepsparse

    engine = deepsparse.Engine(
        asked["artifact"]["onnx"], batch_size=len(images), num_cores=asked["threads"]
    )
    return lambda: engine.run([images])


def _torch(asked: dict[str, Any], images: Any) -> Any:
    import torch
    import torch._inductor.config as inductor
    from torch.fx.experimental.optimization import fuse

    from sparsebench.exporters.onnx.artifact import Artifact
    from sparsebench.exporters.onnx.torch_module import build_module

    torch.set_num_threads(asked["threads"])
    inductor.freezing = True
    precision = asked["how"].get("precision", "fp32")
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    module: Any = fuse(build_module(Artifact.from_json(asked["artifact"])).eval())
    module = module.to(dtype=dtype, memory_format=torch.channels_last)
    if "compile" in asked["how"]:
        module = torch.compile(module, dynamic=False)
    batch = torch.from_numpy(images)

    def call() -> Any:
        with torch.inference_mode(), torch.autocast("cpu", enabled=precision == "autocast"):
            mine = batch.to(dtype=dtype, memory_format=torch.channels_last)
            return module(mine).float().numpy()

    return call


_LIBRARIES = {
    "openvino": _openvino,
    "onnxruntime": _onnxruntime,
    "deepsparse": _deepsparse,
    "torch": _torch,
}

if __name__ == "__main__":
    if len(sys.argv) == 2 and sys.argv[1].startswith("{"):
        _outsider(json.loads(sys.argv[1]))
    else:
        typer.run(main)
