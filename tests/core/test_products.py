"""Products of bfloat16 are the same numbers with and without units that multiply it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gncn.base import hardware
from gncn.core import products

X86 = "processor : 0\nflags : fpu sse2 avx2 {}\n"


@pytest.fixture
def cpuinfo(tmp_path, monkeypatch):
    path = tmp_path / "cpuinfo"
    monkeypatch.setattr(hardware, "_CPUINFO", path)
    hardware._cpu_multiplies_bfloat16.cache_clear()
    yield path
    hardware._cpu_multiplies_bfloat16.cache_clear()


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="asks about CPUs")
@pytest.mark.parametrize(
    ("told", "native"),
    [
        (X86.format("avx512f amx_bf16"), True),
        (X86.format("avx512_bf16"), True),
        ("Features : fp asimd bf16 sve\n", True),
        (X86.format("avx512f avx512_vnni"), False),
        (None, False),
    ],
)
def test_a_cpu_has_units_for_bfloat16_if_linux_says_so(cpuinfo, told, native):
    if told is not None:
        cpuinfo.write_text(told, encoding="utf-8")
    assert hardware.multiplies_bfloat16() == native


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("left_type", ["float32", "bfloat16"])
def test_factors_are_rounded_and_sums_are_not(monkeypatch, native, left_type):
    """Against a sum in double precision of products of rounded factors, compiled as in use."""
    monkeypatch.setattr(products, "multiplies_bfloat16", lambda: native)
    left, right = np.random.default_rng(0).normal(size=(2, 64, 64)).astype(np.float32)

    @jax.jit
    def multiply(a, b):
        return products.product(a.astype(left_type), b.astype("bfloat16"))

    found = multiply(left, right)
    a, b = (
        np.asarray(jnp.asarray(factor).astype("bfloat16").astype("float32"), np.float64)
        for factor in (left, right)
    )
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, a @ b, atol=1e-5)
    assert np.abs(found - left.astype(np.float64) @ right).max() > 1e-3
