import pytest

from workbench.launch.threads import SPIN_COUNT, SPIN_VARIABLE, spin_briefly


def test_threads_spin_briefly_unless_the_user_has_chosen():
    environ = {"PATH": "x"}
    spin_briefly(environ)
    assert environ == {"PATH": "x", SPIN_VARIABLE: SPIN_COUNT}


@pytest.mark.parametrize("chosen", [{SPIN_VARIABLE: "7"}, {"OMP_WAIT_POLICY": "ACTIVE"}])
def test_what_the_user_has_chosen_stays(chosen):
    environ = dict(chosen)
    spin_briefly(environ)
    assert environ == chosen
