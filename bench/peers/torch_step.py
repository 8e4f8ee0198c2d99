#!/usr/bin/env python3
"""Times training steps of one of our models in PyTorch: forward, backward, clip_grad_norm_, AdamW, on random tokens.

    torch_step.py --model MODEL.yaml --mode sdpa --micro-batch 2 --sequence 512 --steps 5
    torch_step.py --check FIXTURE.h5... --mode sdpa     the same weights give the logits, loss and steps of tests/fixtures

--model is a file of configs/models (needs PyYAML) or that mapping as JSON, which `gta bench step MODEL --json` prints as "model".
Modes: eager writes the softmax out, as the published code does; sdpa calls scaled_dot_product_attention; compile is torch.compile of sdpa,
compile-eager of eager. Prints one JSON object a step, warm-up included, then one with "summary". Exit code 3: --check does not hold.
"""
import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time

import numpy
import torch
from torch import nn

from torch_model import CausalLm, optimizer_groups

MODES = {"eager": "explicit", "sdpa": "sdpa", "compile": "sdpa", "compile-eager": "explicit"}


def refuse(message):
    print(f"torch_step: error: {message}", file=sys.stderr)
    raise SystemExit(2)


def load_model_file(path):
    with open(path, encoding="utf-8") as file:
        text = file.read()
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        import yaml
    except ImportError:
        refuse(f"{path} is not JSON and this Python has no PyYAML: install it, or give the model as JSON (gta bench step {path} --json)")
    return yaml.safe_load(text)


def build(model, mode, positions, seed):
    torch.manual_seed(seed)
    if MODES[mode] == "sdpa" and not hasattr(nn.functional, "scaled_dot_product_attention"):
        refuse(f"PyTorch {torch.__version__} has no scaled_dot_product_attention: use --mode eager, or PyTorch 2.1")
    if mode.startswith("compile") and not hasattr(torch, "compile"):
        refuse(f"PyTorch {torch.__version__} has no torch.compile: use --mode eager or sdpa, or PyTorch 2.1")
    return CausalLm(model, MODES[mode], positions)


def loss_of(net, mode):
    return torch.compile(net.loss) if mode.startswith("compile") else net.loss


def make_optimizer(net, decay, fused, **settings):
    """AdamW; its fused form where this PyTorch has one for the CPU: a user who cares for speed takes it."""
    groups = optimizer_groups(net, decay)
    if fused:
        try:
            return torch.optim.AdamW(groups, fused=True, **settings), True
        except (RuntimeError, TypeError):
            pass
    return torch.optim.AdamW(groups, **settings), False


def wait_for(device):
    """A GPU works on after the call has returned."""
    if device == "cuda":
        torch.cuda.synchronize()


def measure_peak_flops(dtype, device="cpu"):
    """Of a large product of random data, in about half a second."""
    n = 2048 if device == "cpu" else 8192
    a, b = (torch.rand(n, n, device=device).sub_(0.5).to(dtype) for _ in range(2))
    torch.mm(a, b)
    wait_for(device)
    least, begin = float("inf"), time.perf_counter()
    while time.perf_counter() - begin < 0.5:
        start = time.perf_counter()
        torch.mm(a, b)
        wait_for(device)
        least = min(least, time.perf_counter() - start)
    return 2.0 * n ** 3 / least


def time_steps(args):
    model = load_model_file(args.model)
    model = model.get("model", model)
    half = args.dtype == "bfloat16"
    peak = measure_peak_flops(torch.bfloat16 if half else torch.float32, args.device)
    net = build(model, args.mode, args.sequence, args.seed).to(args.device)
    if half and args.bfloat16_as == "weights":
        net.to(torch.bfloat16)
    optimizer, fused = make_optimizer(net, 0.1, args.optimizer == "fused", lr=1e-3, betas=(0.9, 0.95), eps=1e-8)
    loss = loss_of(net, args.mode)
    seconds = []
    for step in range(args.warmup_steps + args.steps):
        tokens, labels = (torch.randint(model["vocab_size"], (args.micro_batch, args.sequence), device=args.device) for _ in range(2))
        wait_for(args.device)
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(args.device, torch.bfloat16, enabled=half and args.bfloat16_as == "autocast"):
            value = loss(tokens, labels)
        value.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        wait_for(args.device)
        taken = time.perf_counter() - start
        warmup = step < args.warmup_steps
        print(json.dumps({"step": step, "warmup": warmup, "seconds": taken, "loss": value.item()}), flush=True)
        if not warmup:
            seconds.append(taken)
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    peak = max(peak, measure_peak_flops(torch.bfloat16 if half else torch.float32, args.device))
    print(json.dumps({"summary": {
        "torch": torch.__version__, "mode": args.mode, "attention": model["attention"]["type"], "dtype": args.dtype,
        "bfloat16_as": args.bfloat16_as if half else None, "optimizer": "fused" if fused else "plain", "threads": torch.get_num_threads(),
        "micro_batch_size": args.micro_batch, "sequence_length": args.sequence, "parameters": sum(p.numel() for p in net.parameters()),
        "step_seconds": seconds, "step_seconds_median": statistics.median(seconds), "step_seconds_min": min(seconds),
        "peak_flops_per_second": peak, "resident_peak_bytes": resident}}))


def load_fixture(path):
    """Arrays by name and the attributes. Without h5py here, another Python of the system's converts it."""
    try:
        import h5py
    except ImportError:
        with tempfile.TemporaryDirectory() as folder:
            out = os.path.join(folder, "fixture.npz")
            script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "fixture_to_npz")
            if subprocess.run(["/usr/bin/python3", script, path, out]).returncode:
                refuse(f"cannot read {path}: neither {sys.executable} nor /usr/bin/python3 has h5py")
            with numpy.load(out) as file:
                arrays = {name: file[name] for name in file.files}
        return arrays, json.loads(str(arrays.pop("attributes")))
    arrays = {}
    with h5py.File(path, "r") as file:
        file.visititems(lambda name, item: arrays.__setitem__(name, item[()]) if isinstance(item, h5py.Dataset) else None)
        return arrays, dict(file.attrs)


def relative_error(got, want):
    got, want = numpy.asarray(got, dtype=numpy.float64), numpy.asarray(want, dtype=numpy.float64)
    return float(numpy.abs(got - want).max() / numpy.abs(want).max())


def check(fixture, args):
    """Whether the fixture holds."""
    arrays, attributes = load_fixture(fixture)
    model = json.loads(attributes["config"])
    tokens = torch.from_numpy(arrays["tokens"]).long()
    net = build(model, args.mode, tokens.shape[-1] - 1, 0)
    parameters = dict(net.named_parameters())
    names = {name[len("init/"):] for name in arrays if name.startswith("init/")}
    if names != set(parameters):
        refuse(f"{fixture} and this model differ in their parameters: {sorted(names ^ set(parameters))}")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(torch.from_numpy(arrays["init/" + name]))
        logits = net(tokens[0, :, :-1])
    optimizer, _ = make_optimizer(net, attributes["weight_decay"], args.optimizer == "fused", lr=attributes["lr"],
                                  betas=(attributes["beta1"], attributes["beta2"]), eps=attributes["eps"])
    loss, losses, gradients = loss_of(net, args.mode), [], 0.0
    for step in range(int(attributes["steps"])):
        optimizer.zero_grad(set_to_none=True)
        value = loss(tokens[step, :, :-1], tokens[step, :, 1:])
        value.backward()
        if step == 0:
            gradients = max(relative_error(p.grad, arrays["grad/" + name]) for name, p in parameters.items())
        nn.utils.clip_grad_norm_(net.parameters(), attributes["clip"])
        optimizer.step()
        losses.append(value.item())
    # float32 against float64: the bounds of `gta verify`.
    rows = [("logits", relative_error(logits, arrays["logits"]), 1e-5), ("loss", relative_error(losses[0], arrays["loss"]), 1e-5),
            ("gradients", gradients, 1e-4), ("losses", relative_error(losses, arrays["losses"]), 1e-4)]
    for what, error, allowed in rows:
        print(json.dumps({"check": os.path.basename(fixture), "mode": args.mode, "what": what, "error": error, "allowed": allowed,
                          "holds": error <= allowed}))
    return all(error <= allowed for _, error, allowed in rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="of configs/models, or JSON")
    parser.add_argument("--check", metavar="FIXTURE.h5", nargs="+")
    parser.add_argument("--mode", choices=MODES, default="sdpa")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--bfloat16-as", choices=("autocast", "weights"), default="autocast")
    parser.add_argument("--optimizer", choices=("fused", "plain"), default="fused")
    parser.add_argument("--micro-batch", type=int, default=2)
    parser.add_argument("--sequence", type=int, default=512)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--warmup-steps", type=int, default=1)
    parser.add_argument("--threads", type=int, default=0, help="0: PyTorch's own choice")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    if bool(args.model) == bool(args.check):
        refuse("expected either --model or --check")
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.check:
        raise SystemExit(0 if all([check(fixture, args) for fixture in args.check]) else 3)
    else:
        time_steps(args)


if __name__ == "__main__":
    main()
