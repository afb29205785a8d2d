"""Data sets of a study that are another one by another protocol."""

import pytest

from gncn.base.errors import ConfigError
from gncn.study.plan import Study
from gncn.study.specs import Evaluation


def study(**data):
    return Study(
        name="alike",
        trials=2,
        data={"digits": {"settings": {"split_seed": 3}, "trials": 4}, **data},
        models={
            "gncn": {
                "preset": "digits",
                "settings": {"training": {"n_epochs": 7, "learning_rate": 0.5}},
                "on": {
                    "digits": {"settings": {"training": {"n_epochs": 8, "batch_size": 9}}},
                    "both": {"settings": {"training": {"batch_size": 11}}},
                },
            },
            "gvae": {
                "preset": "gvae",
                "on": {"digits": {"settings": {"training": {"learning_rate": 0.25}}}},
            },
        },
    )


def configs(of, data):
    return {spec.model: spec.config for spec in of.runs(only=[f"*/{data}/0"])}


def test_models_learn_by_the_settings_of_the_other_data_set():
    both = {
        "like": "digits",
        "settings": {"binarisation": "none"},
        "model_settings": {"training": {"train_on": "both", "patience": "none", "batch_size": 10}},
    }
    made = study(both=both)
    there, here = configs(made, "digits"), configs(made, "both")
    assert there["gncn"].training.batch_size == 9
    assert there["gvae"].training.patience is not None
    for one in here.values():
        assert (one.data.name, one.data.split_seed, one.data.binarisation) == ("digits", 3, "none")
        assert (one.training.train_on, one.training.patience) == ("both", None)
    # The model's word for these data goes before that for all models, and that before the likeness.
    assert here["gncn"].training.batch_size == 11
    assert here["gvae"].training.batch_size == 10
    assert (here["gncn"].training.n_epochs, here["gncn"].training.learning_rate) == (8, 0.5)
    assert here["gvae"].training.learning_rate == 0.25
    # The number of trials is a data set's own.
    assert [made.n_trials("gncn", data) for data in made.data] == [4, 2]


def test_a_data_set_of_its_own_name_keeps_its_own_images():
    made = study(mnist={"like": "digits"}, grey={"like": "digits"})
    names = {data: {one.data.name for one in configs(made, data).values()} for data in made.data}
    assert names == {"digits": {"digits"}, "mnist": {"mnist"}, "grey": {"digits"}}
    there, here = configs(made, "digits"), configs(made, "mnist")
    assert {m: one.training for m, one in here.items()} == {
        m: one.training for m, one in there.items()
    }


def test_settings_of_all_models_need_no_likeness():
    made = study(
        other={"settings": {"name": "digits"}, "model_settings": {"training": {"n_epochs": 2}}}
    )
    here = configs(made, "other")
    assert {one.training.n_epochs for one in here.values()} == {2}
    # What is said for digits is not said for these.
    assert here["gvae"].training.learning_rate == 1e-3


@pytest.mark.parametrize("like", ["mnist", "both", "grey"])
def test_a_data_set_is_like_one_that_is_like_none(like):
    with pytest.raises(ConfigError, match=rf"data\.both\.like '{like}'.*Choose one of: 'digits'\."):
        study(both={"like": like}, grey={"like": "digits"})


def test_settings_that_no_model_has_are_refused():
    made = study(both={"like": "digits", "model_settings": {"training": {"trainon": "both"}}})
    with pytest.raises(ConfigError, match="gncn/both.*trainon"):
        made.runs()


def test_a_model_may_be_left_out_on_some_data():
    made = study(both={"like": "digits", "without": ["gvae"]})
    assert made.n_trials("gvae", "both") == 0
    assert [spec.name for spec in made.runs(only=["*/*/1"])] == [
        "gncn/digits/1",
        "gvae/digits/1",
        "gncn/both/1",
    ]
    assert made.n_runs == len(made.runs()) == 4 + 4 + 2
    there = {"settings": {"name": "digits"}, "without": ["gvae"]}
    copied = study(there=there, both={"like": "there"})
    assert [copied.n_trials("gvae", data) for data in copied.data] == [4, 0, 0]
    assert copied.n_trials("gncn", "both") == 2
    with pytest.raises(ConfigError, match=r"data\.both\.without 'gvaee'.* 'gvae'"):
        study(both={"without": ["gvaee"]})


def test_what_no_model_decides_is_measured_once_where_the_first_is_left_out():
    made = study(both={"like": "digits", "without": ["gncn"]})
    names = (*made.evaluation.measures, "codes")
    evaluation = made.evaluation.model_copy(update={"measures": names})
    runs = made.model_copy(update={"evaluation": evaluation}).runs()
    # Codes of the gvae have another width than the gncn's.
    for measure, also in (("codes", ["gvae/digits/0"]), ("yardsticks", [])):
        taken = [spec.name for spec in runs if measure in spec.evaluation.measures]
        assert taken == ["gncn/digits/0", *also, "gvae/both/0"]


MEASURES = ["likelihood", "yardsticks", "completion", "probe"]


def measures(made):
    return {spec.name: spec.evaluation.measures for spec in made.runs()}


def test_a_data_set_may_have_fewer_measures():
    made = study(
        both={"like": "digits", "measures": ["likelihood", "probe"]},
        grey={"like": "digits"},
    ).model_copy(update={"evaluation": Evaluation(measures=MEASURES)})
    found = measures(made)
    assert found["gvae/both/0"] == found["gncn/both/0"] == ("likelihood", "probe")
    for data in ("digits", "grey"):
        assert found[f"gncn/{data}/0"] == tuple(MEASURES)
        assert found[f"gvae/{data}/0"] == ("likelihood", "completion", "probe")
    # What is like a data set has its measures, unless it says otherwise.
    few = {"settings": {"name": "digits"}, "measures": ["probe"]}
    copied = study(few=few, both={"like": "few"}, more={"like": "few", "measures": MEASURES})
    found = measures(copied.model_copy(update={"evaluation": Evaluation(measures=MEASURES)}))
    assert found["gncn/both/0"] == ("probe",)
    assert found["gncn/more/0"] == tuple(MEASURES)


def test_measures_of_a_data_set_are_some_of_the_studys():
    with pytest.raises(ConfigError, match=r"data\.both\.measures 'codes'.*Choose one of"):
        study(both={"like": "digits", "measures": ["probe", "codes"]})


def test_trials_are_measured_with_seeds_of_their_own():
    made = study().model_copy(update={"evaluation": Evaluation(seed=70)})
    specs = made.runs(only=["gncn/digits"])
    assert [spec.evaluation.seed for spec in specs] == [70, 71, 72, 73]
    assert [spec.config.seed for spec in specs] == [0, 1, 2, 3]
