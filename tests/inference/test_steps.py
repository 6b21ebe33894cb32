from collections.abc import Generator
from inspect import signature

import pytest

import napari_nucleus
from napari_nucleus.inference.steps import at_once, run_to_end


def double_steps(number: int, times: int = 1) -> Generator[int, None, str]:
    """Double a number."""
    for _ in range(times):
        number *= 2
        yield number
    return str(number)


def test_progress_is_told_in_order_and_the_result_returned() -> None:
    told: list[int] = []
    assert run_to_end(double_steps(3, 4), told.append) == "48"
    assert told == [6, 12, 24, 48]


def test_job_without_a_step_left_has_its_result() -> None:
    told: list[int] = []
    assert run_to_end(double_steps(3, 0), told.append) == "3"
    assert told == []


def test_function_at_once_is_the_job_with_its_name_and_parameters() -> None:
    double = at_once(double_steps)
    assert double(3, times=2) == "12"
    assert (double.__name__, double.__doc__) == ("double", "Double a number.")
    assert str(signature(double)) == "(number: int, times: int = 1) -> str"
    with pytest.raises(TypeError, match="time"):
        double(3, time=2)  # type: ignore[call-arg]


@pytest.mark.parametrize("name", ["evaluate", "retrain", "segment", "train"])
def test_public_jobs_show_what_they_take_and_return(name: str) -> None:
    function = getattr(napari_nucleus, name)
    assert function.__name__ == name
    assert "Parameters\n" in function.__doc__
    assert "Generator" not in str(signature(function).return_annotation)
