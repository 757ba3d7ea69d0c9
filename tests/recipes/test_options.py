from rra_monitor.recipes.options import FLAGS


def test_flags_are_the_options_that_are_on_or_off():
    assert FLAGS["monitor"] is True
    assert FLAGS["resume"] is False
