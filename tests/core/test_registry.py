"""Parts under names: what may be registered, and what is said where it may not."""

import numpy as np
import pytest
from pydantic import Field

import gncn
from gncn.base.errors import ConfigError
from gncn.base.registry import registry
from gncn.data import DataSource

KINDS = ("activation", "competition", "connection", "likelihood", "settler", "measure", "dataset")


class Neighbours(gncn.Competition):
    """Each neuron is inhibited by the one before it."""

    reach: int = Field(default=1, gt=0)

    def rival_sum(self, signal, products="float32"):
        return signal[:, [(i - self.reach) % signal.shape[1] for i in range(signal.shape[1])]]


def test_a_part_of_ones_own_goes_by_its_name():
    assert gncn.register("competition", "neighbours", Neighbours) is Neighbours
    assert gncn.registered("competition")[-1] == "neighbours"
    flat = gncn.Layer(size=3, competition="neighbours", reach=2)
    assert flat == gncn.Layer(size=3, competition=Neighbours(reach=2))
    assert flat == gncn.Layer(size=3, competition={"kind": "neighbours", "reach": 2})
    described = gncn.chain((4, 3), competition="neighbours").describe()
    assert described["layers"][1]["competition"] == {"kind": "neighbours", "reach": 1}
    assert gncn.Circuit(**described) == gncn.chain((4, 3), competition=Neighbours())


def test_the_same_part_may_be_registered_again_and_another_under_its_name_may_not():
    gncn.register("competition", "again", Neighbours)
    gncn.register("competition", "again", Neighbours)
    for kind, name, part in (
        ("competition", "again", gncn.Columns),
        ("settler", "euler", gncn.Momentum),
        ("likelihood", "gaussian", gncn.Bernoulli),
        ("connection", "dense", type("Sparse", (gncn.Dense,), {})),
    ):
        with pytest.raises(ConfigError, match=f"The {kind} name '{name}' is taken; choose another"):
            gncn.register(kind, name, part)
        assert part is not registry(kind).get(name)


@pytest.mark.parametrize(
    ("kind", "base", "missing"),
    [
        ("competition", gncn.Competition, ("rival_sum",)),
        ("connection", gncn.Connection, ("build", "n_synapses")),
        ("likelihood", gncn.Likelihood, ("build",)),
        ("settler", gncn.Settler, ("plain_step",)),
    ],
)
def test_a_part_without_its_methods_is_refused_with_their_names(kind, base, missing):
    unfinished = type("Unfinished", (base,), {})
    names = ", ".join(f"`{name}`" for name in missing)
    message = f"Unfinished lacks {names}, which every {kind} needs"
    with pytest.raises(ConfigError, match=message):
        gncn.register(kind, "unfinished", unfinished)
    assert "unfinished" not in gncn.registered(kind)


@pytest.mark.parametrize(
    ("kind", "part", "message"),
    [
        ("competition", gncn.Euler, "must be a subclass of `gncn.Competition`; received.*Euler"),
        ("settler", abs, "must be a subclass of `gncn.Settler`; received <built-in function abs>"),
        ("connection", Neighbours(), "must be a subclass of `gncn.Connection`"),
        ("activation", 3, "An activation must be callable; received 3"),
        ("activation", gncn.Columns, "a subclass of `gncn.Part` with a `__call__`"),
        ("activation", gncn.Part, "a subclass of `gncn.Part` with a `__call__`"),
    ],
)
def test_what_is_no_such_part_is_refused(kind, part, message):
    with pytest.raises(ConfigError, match=message):
        gncn.register(kind, "other", part)


@pytest.mark.parametrize("name", ["two words", "", "8th", "a.b"])
def test_a_name_is_one_word(name):
    with pytest.raises(ConfigError, match="must be a word of letters, digits.*received"):
        gncn.register("competition", name, Neighbours)


def test_an_unknown_kind_is_refused_with_all_kinds():
    for ask in (lambda: gncn.register("synapse", "x", Neighbours), lambda: gncn.registered("x")):
        with pytest.raises(ConfigError, match="Unknown kind of part '(synapse|x)'") as caught:
            ask()
        assert all(repr(kind) in str(caught.value) for kind in KINDS)


@pytest.mark.parametrize(
    ("kind", "base", "option", "owner"),
    [
        ("competition", Neighbours, "size", "the description's own"),
        ("competition", Neighbours, "sizes", "the description's own"),
        ("competition", Neighbours, "initial_state", "the description's own"),
        ("competition", Neighbours, "precision", "that of the likelihood 'gaussian'"),
        ("competition", Neighbours, "max_norm", "that of the connection 'dense'"),
        ("likelihood", gncn.Gaussian, "group_size", "that of the competition 'columns'"),
        ("connection", gncn.Dense, "winners", "that of the activation 'k_winners'"),
        ("settler", gncn.Euler, "leak", "the description's own"),
        ("likelihood", gncn.Gaussian, "output_gain", "the options of the data, which begin so"),
    ],
)
def test_an_option_that_means_something_else_next_to_it_is_refused(kind, base, option, owner):
    own = {"__annotations__": {option: float}, option: 1.0, "__module__": __name__}
    clashing = type("Clashing", (base,), own)
    message = f"Clashing can't have the option '{option}': it would clash with {owner}"
    with pytest.raises(ConfigError, match=message):
        gncn.register(kind, "clashing", clashing)
    assert "clashing" not in gncn.registered(kind)


def test_parts_of_one_kind_may_share_an_option_and_parts_of_another_scope_may_too():
    reach = {"__annotations__": {"group_size": int}, "group_size": 2, "__module__": __name__}
    gncn.register("competition", "wide", type("Wide", (Neighbours,), reach))
    flat = gncn.Layer(size=4, competition="wide", group_size=1)
    assert flat.competition.group_size == 1
    gncn.register("settler", "grouped", type("Grouped", (gncn.Euler,), reach))
    circuit = gncn.chain((4, 3))
    assert gncn.build(circuit, seed=0, settler="grouped", group_size=5).settler.group_size == 5


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("ring", "Unknown competition 'ring'. Choose one of: 'none', 'columns', 'band', 'matrix'"),
        (3, "by its name \\('none', 'columns'.*received 3"),
        ({"group_size": 2}, "by its name .*as a table with its 'kind'"),
        ({"kind": "columns"}, "Columns needs the option 'group_size'"),
        ({"kind": "columns", "group_size": 0}, "group_size: .*greater than 0; received 0"),
        ({"kind": "columns", "group_size": 2, "width": 1}, "Unknown option 'width' for Columns"),
    ],
)
def test_a_part_is_given_by_name_table_or_object(value, message):
    with pytest.raises(ConfigError, match=message):
        gncn.Layer(size=4, competition=value)


def test_a_part_without_a_name_works_and_can_not_be_saved():
    class Unnamed(Neighbours):
        pass

    assert gncn.Layer(size=3, competition=Unnamed()).competition == Unnamed()
    with pytest.raises(ConfigError, match=r"Unnamed has no name.*register\('competition', name, U"):
        registry("competition").name_of(Unnamed)


def test_a_table_that_names_a_function_is_its_name_and_has_no_options():
    assert gncn.Layer(size=4, activation={"kind": "relu"}).activation == "relu"
    with pytest.raises(gncn.ConfigError, match="'relu' has no options"):
        gncn.Layer(size=4, activation={"kind": "relu", "x": 0.5})


def test_a_settler_with_a_step_of_its_own_takes_it_from_the_first():
    class Twice(gncn.Euler):
        def step(self, network, prepared, latents, state):
            once = self.plain_step(network, prepared, latents)
            return self.plain_step(network, prepared, once), state

    network = gncn.build(gncn.chain((6, 5, 4)), seed=0, settler=Twice(n_settle_steps=4))
    x = np.eye(6, dtype=np.float32)[:3]
    np.testing.assert_allclose(
        gncn.settle(network, x).latents[2], gncn.watch(network, x)[0].latents[2], rtol=1e-5
    )
    assert not network.settler.forgets


@pytest.mark.parametrize(
    ("kind", "base", "method", "message"),
    [
        ("competition", gncn.Competition, "rival_sum", r"products: Any.*too many positional"),
        ("settler", gncn.Settler, "plain_step", "prepared: Any, latents"),
        ("dataset", DataSource, "load", "unexpected keyword argument 'data_dir'"),
    ],
)
def test_a_method_that_lacks_arguments_is_refused(kind, base, method, message):
    part = type("Short", (base,), {method: lambda self, one=0: one})
    with pytest.raises(ConfigError, match=rf"Short\.{method} can't be called as every .*{message}"):
        gncn.register(kind, "short", part)
    assert "short" not in gncn.registered(kind)
