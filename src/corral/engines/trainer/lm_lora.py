"""Trains a LoRA of a language model: `lm_lora.py CONFIG`, in one process for each device.

A step has the same examples, in the same order, and the same loss on any number of devices: the order follows from the
seed and the step, a process takes every n-th example, and losses are weighted by the tokens of the whole step. So an
attempt can resume on another number of devices. The first process writes checkpoints, the journal and the result.

Runs in the trainer's own environment (transformers, peft, accelerate, gguf), which Corral's does not have.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from corral.engines.trainer.checkpoints import list_checkpoints, note_step, write_checkpoint
from corral.engines.trainer.datasets import Example, read_examples
from corral.engines.trainer.gguf_adapter import write_adapter
from corral.units import format_duration


def _import(name: str) -> Any:  # Any: these libraries are in the trainer's own environment alone
    """Import a library; None in Corral's environment, where this file is imported and never run."""
    return import_module(name) if find_spec(name) else None


torch = _import("torch")
transformers = _import("transformers")
peft = _import("peft")
accelerate = _import("accelerate")

IGNORED = -100
"""The label of a token that is not learnt (PyTorch's cross entropy)."""
_STATE = "state.pt"


def main() -> None:
    """Train to the last step, and write the result."""
    config = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    options, folder = config["options"], Path(config["keep"])
    accelerator = accelerate.Accelerator()
    transformers.logging.disable_progress_bar()
    transformers.set_seed(options["seed"])
    base = Path(config["base"])
    tokenizer = transformers.AutoTokenizer.from_pretrained(base.parent, gguf_file=base.name)
    model = _load_model(base, options)
    examples = [_tokenize(tokenizer, example, options["max_length"]) for example in read_examples(Path(config["data"]))]
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=options["learning_rate"])
    done = _resume(folder, model, optimizer)
    prepared, optimizer = accelerator.prepare(model, optimizer)
    prepared.train()
    accelerator.wait_for_everyone()  # none resumes from what another one writes
    begun, total = time.monotonic(), options["steps"]
    for step in range(done + 1, total + 1):
        loss = _do_step(accelerator, prepared, optimizer, choose_examples(examples, step, options), tokenizer)
        if accelerator.is_main_process:
            note_step(folder, step, loss)
            _report(step, total, loss, (step - done) / (time.monotonic() - begun))
            if step % config["checkpoint_every"] == 0 or step == total:
                write_checkpoint(folder, step, lambda made: _save(made, model, optimizer))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        _write_result(Path(config["output"]), model, options)
    accelerator.end_training()


def choose_examples(examples: Sequence[Any], step: int, options: dict[str, Any]) -> list[Any]:  # Any: as tokenized
    """Choose the examples of a step, which is counted from 1: each epoch has all, in an order of its own."""
    size, count = options["batch_size"], len(examples)
    chosen: list[Any] = []
    for position in range((step - 1) * size, step * size):
        epoch, index = divmod(position, count)
        order = list(range(count))
        random.Random(f"{options['seed']} {epoch}").shuffle(order)
        chosen.append(examples[order[index]])
    return chosen


def _load_model(base: Path, options: dict[str, Any]) -> Any:
    model = transformers.AutoModelForCausalLM.from_pretrained(base.parent, gguf_file=base.name, dtype=torch.float32)
    model.config.use_cache = False
    shape = peft.LoraConfig(
        r=options["rank"],
        lora_alpha=options["alpha"],
        target_modules=options["modules"].split(","),
        lora_dropout=0.0,
        task_type="CAUSAL_LM",
    )
    return peft.get_peft_model(model, shape)


def _tokenize(tokenizer: Any, example: Example, longest: int) -> tuple[list[int], list[int]]:
    """Return the tokens of an example and their labels: those of the answer, and none for the prompt."""
    turn = [{"role": "user", "content": example.prompt}]
    prompt = tokenizer.apply_chat_template(turn, add_generation_prompt=True, tokenize=False)
    before = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    after = [*tokenizer(example.answer, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    return (before + after)[:longest], ([IGNORED] * len(before) + after)[:longest]


def _do_step(accelerator: Any, model: Any, optimizer: Any, examples: Sequence[Any], tokenizer: Any) -> float:
    """Do one step on all devices; return the loss per token of the whole step."""
    learnt = max(1, sum(label != IGNORED for _, labels in examples for label in labels[1:]))
    rank, ranks = accelerator.process_index, accelerator.num_processes
    own = examples[rank::ranks]
    # A process without an example of its own takes part with one that counts nothing.
    tokens, labels = _pad(own or examples[:1], tokenizer.pad_token_id or tokenizer.eos_token_id)
    tokens, labels = tokens.to(accelerator.device), labels.to(accelerator.device)
    logits = model(input_ids=tokens).logits[:, :-1].float()
    summed = torch.nn.functional.cross_entropy(
        logits.reshape(-1, logits.shape[-1]), labels[:, 1:].reshape(-1), ignore_index=IGNORED, reduction="sum"
    )
    part = summed / learnt if own else summed * 0.0
    accelerator.backward(part * ranks)  # gradients are averaged over the processes, and the loss is a sum
    accelerator.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return float(accelerator.reduce(part.detach(), reduction="sum"))


def _pad(examples: Sequence[Any], filler: int) -> tuple[Any, Any]:
    """Return tokens and labels of equal length; padding is at the end, where a causal model does not see it."""
    longest = max(len(tokens) for tokens, _ in examples)
    tokens = [tokens + [filler] * (longest - len(tokens)) for tokens, _ in examples]
    labels = [labels + [IGNORED] * (longest - len(labels)) for _, labels in examples]
    return torch.tensor(tokens), torch.tensor(labels)


def _resume(folder: Path, model: Any, optimizer: Any) -> int:
    """Take up the newest checkpoint that can be read; return the steps done before it."""
    for step, path in list_checkpoints(folder):
        try:
            state = torch.load(path / _STATE, map_location="cpu", weights_only=True)
        except Exception as error:  # noqa: BLE001 - whatever the library raises for a file that a disk damaged
            sys.stderr.write(f"corral: checkpoint {path.name} cannot be read: {error}\n")
            continue
        peft.set_peft_model_state_dict(model, state["adapter"])
        optimizer.load_state_dict(state["optimizer"])
        return step
    return 0


def _save(folder: Path, model: Any, optimizer: Any) -> None:
    torch.save(
        {
            "adapter": peft.get_peft_model_state_dict(model, save_embedding_layers=False),
            "optimizer": optimizer.state_dict(),
        },
        folder / _STATE,
    )


def _report(step: int, total: int, loss: float, per_second: float) -> None:
    left = format_duration(round((total - step) / per_second))
    words = f"step {step} of {total}, loss {loss:.4f}, {per_second:.2f} it/s, {left} left"
    sys.stdout.write(f"corral: progress {step / total:.4f} {words}\n")
    sys.stdout.flush()


def _write_result(folder: Path, model: Any, options: dict[str, Any]) -> None:
    model.save_pretrained(folder, save_embedding_layers=False)  # PEFT's own form, which Ollama and vLLM read
    state = {
        name: value.float().numpy()
        for name, value in peft.get_peft_model_state_dict(model, save_embedding_layers=False).items()
    }
    write_adapter(folder / "lora.gguf", state, model.config, alpha=options["alpha"])


if __name__ == "__main__":
    main()
