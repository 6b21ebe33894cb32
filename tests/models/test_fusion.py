import numpy as np
import pytest
import torch
from torch import Tensor

from napari_nucleus.models.eunet3plus.fusion import CHANNELS, Concatenation, EnhancedFusion


def maps(side: int = 16, seed: int = 0) -> tuple[Tensor, Tensor]:
    torch.manual_seed(seed)
    return torch.randn(2, 8, side, side), torch.randn(2, CHANNELS, side, side)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("glu", [True, False])
def test_gate_weighs_channels_by_both_maps(glu: bool) -> None:
    local, guide = maps()
    block = EnhancedFusion(8, glu=glu, attention=False)
    assert block.gate is not None
    first, last = (layer for layer in block.gate if isinstance(layer, torch.nn.Linear))
    w1, b1, w2, b2 = (
        p.detach().numpy().astype(float)
        for layer in (first, last)
        for p in (layer.weight, layer.bias)
    )
    both = np.concatenate([local.mean((2, 3)).numpy(), guide.mean((2, 3)).numpy()], 1)
    hidden = both @ w1.T + b1
    half = hidden.shape[1] // 2
    hidden = hidden[:, :half] * sigmoid(hidden[:, half:]) if glu else hidden.clip(min=0)
    expected = local.numpy() * sigmoid(hidden @ w2.T + b2)[..., None, None]
    with torch.no_grad():
        np.testing.assert_allclose(block(local, guide).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("kv", ["local", "sam"])
def test_attention_is_the_textbooks(kv: str) -> None:
    local, guide = maps(4)
    block = EnhancedFusion(8, gate=False, kv=kv).double()  # type: ignore[arg-type]
    attention = block.attention
    assert attention is not None
    if kv == "local":
        wq, wk, wv = attention.in_proj_weight.chunk(3)
    else:
        wq, wk, wv = (getattr(attention, f"{of}_proj_weight") for of in "qkv")
    bq, bk, bv = attention.in_proj_bias.chunk(3)
    tokens = local.double().flatten(2).mT
    seen = (local if kv == "local" else guide).double().flatten(2).mT
    q, k, v = tokens @ wq.T + bq, seen @ wk.T + bk, seen @ wv.T + bv
    answer = (q @ k.mT / 8**0.5).softmax(-1) @ v
    answer = answer @ attention.out_proj.weight.T + attention.out_proj.bias
    expected = answer.mT.reshape(2, 8, 4, 4)
    torch.testing.assert_close(block(local.double(), guide.double()), expected)


def test_queries_are_gated_and_keys_are_not() -> None:
    local, guide = maps(4)
    block = EnhancedFusion(8)
    seen: list[tuple[Tensor, ...]] = []
    assert block.attention is not None
    block.attention.register_forward_pre_hook(lambda _, given: seen.append(given))
    block(local, guide)
    query, key, value = seen[0]
    torch.testing.assert_close(key, local.flatten(2).mT)
    assert key is value
    assert not torch.allclose(query, key)


def test_attention_is_pytorchs_fused_one(monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    fused = torch.nn.functional.scaled_dot_product_attention

    def counted(*args: object, **kwargs: object) -> Tensor:
        called.append(1)
        return fused(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", counted)
    EnhancedFusion(8)(*maps(4))
    assert called


def reached(block: torch.nn.Module) -> bool:
    """Whether SAM's embedding matters."""
    local, guide = maps(4)
    block.eval()
    with torch.no_grad():
        return not torch.allclose(block(local, guide), block(local, 2 * guide + 1))


def test_where_sam_reaches() -> None:
    assert reached(EnhancedFusion(8))
    assert reached(EnhancedFusion(8, gate=False, kv="sam"))
    assert reached(Concatenation(8))
    assert not reached(EnhancedFusion(8, gate=False))


def test_large_maps_are_fused_in_windows_of_the_size_trained_with() -> None:
    local, guide = maps(32)
    block = EnhancedFusion(8)
    with torch.no_grad():
        whole = block(local, guide)
        for rows in (slice(0, 16), slice(16, 32)):
            for columns in (slice(0, 16), slice(16, 32)):
                part = block(local[..., rows, columns], guide[..., rows, columns])
                torch.testing.assert_close(whole[..., rows, columns], part)
        assert block(*maps(37)).shape == (2, 8, 37, 37)


def test_concatenation_is_a_convolution_over_both() -> None:
    local, guide = maps(4)
    block = Concatenation(8).eval()
    convolution = block.mix[0]
    assert isinstance(convolution, torch.nn.Conv2d)
    assert convolution.weight.shape == (8, 8 + CHANNELS, 1, 1)
    with torch.no_grad():
        assert (block(local, guide) >= 0).all()
