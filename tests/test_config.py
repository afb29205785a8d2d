"""Configurations: presets, files, overrides, and values that would have no effect."""

import re
import tomllib

import equinox as eqx
import pytest

import gncn
from gncn.base.errors import ConfigError
from gncn.core.connections.base import CONNECTIONS
from gncn.runs.config import Config, load_config, preset_names
from gncn.runs.toml import write_toml


@pytest.mark.parametrize("name", preset_names())
def test_presets_build_and_survive_toml(name, tmp_path):
    config = gncn.load_config(preset=name)
    (tmp_path / "c.toml").write_text(config.to_toml(), encoding="utf-8")
    assert gncn.load_config(file=tmp_path / "c.toml") == config
    digits = gncn.load_dataset("digits")
    assert config.describe(digits)
    if config.model == "gmm":
        return
    (model, *_) = eqx.filter_eval_shape(lambda: config.models(digits))
    if config.model == "gncn":
        assert model.circuit.sizes[0] == 64
    else:
        assert model.blueprint.n_synapses <= config.backprop.budget


def test_a_file_overlays_a_preset_and_overrides_overlay_both(tmp_path):
    (tmp_path / "c.toml").write_text(
        "[training]\nn_epochs = 7\nbatch_size = 33\n", encoding="utf-8"
    )
    config = gncn.load_config(
        preset="digits",
        file=tmp_path / "c.toml",
        overrides=[
            "training.n_epochs=9",
            "data.name=mnist",
            "network.sizes=[8, 4]",
            "seed=3",
            "network.max_norm=1.5",
            "network.group_size=[2,4]",
        ],
    )
    assert config.training.n_epochs == 9
    assert config.training.batch_size == 33
    assert config.training.learning_rate == gncn.load_config(preset="digits").training.learning_rate
    assert config.data.name == "mnist"
    assert config.network.sizes == (8, 4)
    assert config.seed == 3


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["training.epochs=3"], "Unknown option 'epochs'.*'n_epochs'"),
        (["trainin.n_epochs=3"], "Unknown option 'trainin'"),
        (["training.n_epochs=lots"], "n_epochs.*received 'lots'"),
        (["training.n_epochs"], "written name=value"),
        (["network.feedback=tied", "training.feedback_rate=0.5"], "feedback_rate=0.5 has no eff"),
        (["network.precision=off", "settling.initial_precision=2.0"], "initial_precision=2.0 has"),
        (["network.competition=none", "network.group_size=[2,2,2]"], "competition='none', group"),
        (["seed=-1"], "seed.*received -1"),
        (["settling.tolerance=0"], "tolerance.*received 0"),
        (
            ["model=vae"],
            "Unknown model 'vae'. Did you mean 'gvae'[?] Choose one of: 'gncn', 'rae',",
        ),
        (
            ["model=rae", "network.sizes=[9]"],
            r"network.sizes=\(9,\) has no effect with model",
        ),
        (["model=rae", "settling.leak=0.5"], "settling.leak=0.5 has no effect with model='rae'"),
        (["model=rae", "training.feedback_rate=0.5"], "feedback_rate=0.5 has no effect with mod"),
        (["model=rae", "backprop.variance=0.5"], "variance=0.5 has no effect with model='rae'"),
        (["model=gvae-cv", "backprop.variance=0.01"], "variance.*0.025.*received 0.01"),
        (["model=dsrn", "backprop.n_latent=9"], "n_latent=9 has no effect with model='dsrn'"),
        (["model=gmm", "training.n_epochs=9"], "training.n_epochs=9 has no effect with mod"),
        (["model=gmm", "backprop.budget=9"], "backprop.budget=9 has no effect with model='gmm'"),
        (
            ["model=gmm", "mixture.emission=means", "mixture.n_samples=9"],
            "mixture.n_samples=9 has no effect with emission='means'",
        ),
        (["training.clip_norm=1.0"], "clip_norm=1.0 has no effect with model='gncn'"),
        (["backprop.budget=9"], "backprop.budget=9 has no effect with model='gncn'"),
        (["mixture.floor=0.1"], "mixture.floor=0.1 has no effect with model='gncn'"),
        (["training.patience=0"], "patience.*received 0"),
        (
            ["network.precision=diagonal", "settling.initial_precision=20.0"],
            r"initial_precision=20.0 must lie within training.precision_bounds=\(0.1, 10.0\)",
        ),
    ],
)
def test_wrong_settings_are_refused(overrides, message):
    with pytest.raises(ConfigError, match=message):
        gncn.load_config(overrides=overrides)


def test_competition_numbers_without_competition_are_refused():
    with pytest.raises(ConfigError, match="self_excitation=0.4 has no effect without"):
        gncn.load_config(overrides=["settling.self_excitation=0.4"])


def test_unknown_presets_and_unreadable_files(tmp_path):
    with pytest.raises(
        ConfigError,
        match="Unknown preset 'mnits'. Did you mean 'mnist'[?] Choose one of: 'caltech'",
    ):
        gncn.load_config(preset="mnits")
    with pytest.raises(ConfigError, match="Can't read"):
        gncn.load_config(file=tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("= 3", encoding="utf-8")
    with pytest.raises(ConfigError, match="is not TOML"):
        gncn.load_config(file=tmp_path / "bad.toml")


def test_options_of_files_do_not_apply_to_data_sets_by_name(tmp_path):
    config = gncn.load_config(overrides=["data.name=digits", "data.threshold=0.3"])
    with pytest.raises(ConfigError, match="threshold.*only for your own"):
        config.data.load()
    config = gncn.load_config(overrides=["data.name=x.npy", "data.data_dir=here"])
    with pytest.raises(ConfigError, match="'x.npy' is a file"):
        config.data.load()


def test_trials_have_seeds_one_apart_and_different_synapses():
    config = gncn.load_config(overrides=["seed=5", "n_trials=3", "network.sizes=[4]"])
    assert config.seeds == [5, 6, 7]
    networks = config.models(gncn.load_dataset("digits"))
    first = [float(n.connections[0].forward[0, 0]) for n in networks]
    assert len(set(first)) == 3


def test_toml_holds_every_value_that_is_set():
    written = tomllib.loads(gncn.Config().to_toml())
    assert written["settling"]["n_settle_steps"] == 50
    assert "tolerance" not in written["settling"]


def test_toml_holds_the_sections_of_the_model_alone():
    written = tomllib.loads(gncn.Config(model="rae").to_toml())
    assert set(written) == {"model", "seed", "n_trials", "data", "training", "backprop"}
    assert written["backprop"]["budget"] == 1_400_000
    assert gncn.Config(**written) == gncn.Config(model="rae")
    assert "mixture" in tomllib.loads(gncn.Config(model="gmm").to_toml())


@pytest.mark.parametrize(
    ("overrides", "section", "absent", "present"),
    [
        (["model=rae"], "training", ["feedback_rate", "precision_rate"], ["clip_norm"]),
        (["model=rae"], "backprop", ["variance", "adversary_rate"], ["n_latent", "penalty"]),
        (["model=gvae-cv"], "backprop", [], ["n_latent", "variance"]),
        (["model=gan-ae"], "backprop", ["variance", "kl_warmup"], ["adversary_rate"]),
        (["model=gvae"], "backprop", ["variance", "adversary_rate"], ["kl_warmup"]),
        (["model=dsrn"], "backprop", ["n_latent", "variance", "encoder_penalty"], ["penalty"]),
        (["model=gmm"], "mixture", [], ["n_samples"]),
        (["model=gmm", "mixture.emission=means"], "mixture", ["n_samples"], ["floor"]),
        ([], "training", ["clip_norm", "precision_rate"], ["feedback_rate"]),
        (["network.feedback=tied"], "training", ["feedback_rate"], ["learning_rate"]),
        ([], "settling", ["self_excitation", "initial_precision"], ["step_size"]),
    ],
)
def test_toml_holds_no_option_without_effect(overrides, section, absent, present):
    config = gncn.load_config(overrides=overrides)
    written = tomllib.loads(config.to_toml())
    assert not {*absent} & {*written[section]}
    assert {*present} <= {*written[section]}
    assert gncn.Config(**written) == config


def test_options_of_a_baseline_reach_it():
    digits = gncn.load_dataset("digits")
    config = gncn.load_config(
        overrides=[
            "model=gvae-cv",
            "backprop.budget=9000",
            "backprop.n_latent=7",
            "backprop.variance=0.5",
            "backprop.penalty=0.25",
            "backprop.encoder_penalty=0.125",
            "backprop.weight_scale=2.0",
        ]
    )
    model = config.models(digits)[0]
    assert model.blueprint.n_latent == 7
    assert model.blueprint.variance == 0.5
    assert model.blueprint.penalty == 0.25
    assert model.blueprint.encoder_penalty == 0.125
    assert 8500 < model.blueprint.n_synapses <= 9000
    plain = config.model_copy(
        update={"backprop": config.backprop.model_copy(update={"weight_scale": 1.0})}
    )
    ratio = model.encoder.weights[0] / plain.models(digits)[0].encoder.weights[0]
    assert abs(float(ratio.mean()) - 2) < 1e-4
    assert gncn.Config(model="dsrn").describe(digits).startswith("64-")
    assert "discriminator 20-" in gncn.Config(model="gan-ae").describe(digits)
    assert gncn.Config(model="gmm").n_synapses(digits) is None


class Local(gncn.Connection):
    """Two pixels to each neuron."""

    gap: int = 1

    def check(self, n_source, n_target):
        if n_target != 2 * n_source:
            raise ConfigError(f"Local joins {n_source} to {2 * n_source}; received {n_target}.")

    def n_synapses(self, n_source, n_target):
        return n_target

    def build(self, n_source, n_target, scale, keys):
        raise NotImplementedError


def test_a_connection_of_ones_own_has_its_options_in_a_table(tmp_path, monkeypatch):
    monkeypatch.setitem(CONNECTIONS._entries, "local", Local)
    (tmp_path / "c.toml").write_text(
        "[network]\nsizes = [32, 8]\n"
        'connection = [{ kind = "local", gap = 3 }, { kind = "dense", feedback = "tied" }]\n',
        encoding="utf-8",
    )
    config = gncn.load_config(file=tmp_path / "c.toml")
    local, dense = config.network.circuit(64).connections
    assert (local, dense.feedback) == (Local(source=1, target=0, gap=3), "tied")
    assert gncn.Config(**tomllib.loads(config.to_toml())) == config
    with pytest.raises(ConfigError, match="Local joins 32 to 64; received 65"):
        config.network.circuit(65)
    with pytest.raises(ConfigError, match="a name or a table with its 'kind'; received 3"):
        gncn.load_config(overrides=["network.connection=3"])
    with pytest.raises(ConfigError, match="must name at least one kind; received none"):
        gncn.load_config(overrides=["network.connection=[]"])


def test_toml_holds_text_alone():
    with pytest.raises(ConfigError, match=r"can't hold a name .* \(name = .*\)\. Rename it"):
        write_toml({"data": {"name": "of\udcff"}})


@pytest.mark.parametrize("wrong", [0.5, "x", True, [1], [{"a": 1}], {"a": 1}])
def test_every_option_and_section_of_the_wrong_kind_is_refused_in_words(wrong):
    whole = gncn.load_config(preset="digits").resolved()
    accepted, said = [], []
    for section, value in whole.items():
        options = value if isinstance(value, dict) else ()
        for name in ((section,), *((section, option) for option in options)):
            one = {key: dict(v) if isinstance(v, dict) else v for key, v in whole.items()}
            inner = one if len(name) == 1 else one[section]
            inner[name[-1]] = wrong
            try:
                Config(**one)
                accepted.append(".".join(name))
            except ConfigError as error:
                said.append(str(error))
    # Some numbers may be 0.5, some texts "x", and some lists [1]; nothing but a section is a table.
    assert {*accepted}.isdisjoint(name for name, value in whole.items() if isinstance(value, dict))
    classes = "[A-Z][a-z]+(Config|Run)|Settling|instance of"
    assert [message for message in said if re.search(classes, message)] == []
    assert not (accepted and wrong in ({"a": 1}, [{"a": 1}]))


def test_an_option_is_called_as_it_was_written():
    for override, message in (
        ("training.n_epochs=-3", r"^training\.n_epochs: .*received -3"),
        ("training.n_epoch=3", r"^Unknown option 'n_epoch' for training\. Did you mean 'n_epochs'"),
        ("trainig.n_epochs=3", r"^Unknown option 'trainig' for a configuration\. Did you mean"),
        ("n_epochs=3", r"^Unknown option 'n_epochs' .*Did you mean 'training\.n_epochs'\?"),
        ("epochs=3", r"^Unknown option 'epochs' .*Did you mean 'training\.n_epochs'\?"),
        ("network.sizes='abc'", r"^network: sizes must be a list of numbers; received 'abc'"),
        ("training.patience='a'", r"^training: patience must be a number; received 'a'"),
        ("settling.lateral_inhibition='a'", "must be a number or a list of numbers; received 'a'"),
        ("settling=0.5", r"^settling must be a table of options; received 0\.5"),
        ("seed=-1", r"^seed: .*received -1"),
        ("settling.n_settle_steps=-1", r"^settling: .*received -1"),
        ("network.activation=rleu", r"^Unknown activation 'rleu'\. Did you mean 'relu'"),
        ("network.sizez=[3]", r"^Unknown option 'sizez' for a chain\. Did you mean 'sizes'"),
        ("training.precision_bounds=[3]", r"^training needs the option 'precision_bounds\.1'"),
        ("model=gvae", r"^network\.sizes=.* has no effect with model='gvae'"),
    ):
        with pytest.raises(ConfigError, match=message):
            load_config(preset="digits", overrides=[override])
    with pytest.raises(ConfigError, match=r"^Unknown option 'n_epoch' for TrainingConfig\. Did"):
        gncn.TrainingConfig(n_epoch=3)
