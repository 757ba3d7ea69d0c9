import html

import pytest

from rra_monitor.page.report import write_report
from tests.helpers.page_runs import ODD, made_up_run


class TestWriteReport:
    def test_names_can_not_leave_their_place(self, tmp_path):
        report = write_report([made_up_run(ODD)], tmp_path / "r.html")
        text = report.path.read_text()
        assert "<img" not in text
        assert text.count("</script>") == 4
        assert 'src="' not in text.replace(html.escape(ODD), "")
        assert report.size == len(report.path.read_bytes())

    def test_what_is_too_large_loses_moments_evenly_and_says_so(self, tmp_path):
        layers = ("input", *(f"layer{number}" for number in range(30)))
        runs = [made_up_run(name, range(120), layers, seed=seed) for seed, name in enumerate("ab")]
        whole = write_report(runs, tmp_path / "whole.html")
        limit = write_report([made_up_run()], tmp_path / "small.html").size + 200_000
        report = write_report(runs, tmp_path / "thin.html", limit=limit)
        assert not whole.notes
        assert report.size <= limit < whole.size
        assert report.size > 0.8 * limit
        assert len(report.notes) == 2
        assert "of 120 snapshots" in report.notes[0]

    def test_what_can_not_fit_is_refused(self, tmp_path):
        with pytest.raises(
            ValueError, match=r"MB with two snapshots of each of the 1 runs, more than 0\.1 MB; give fewer"
        ):
            write_report([made_up_run()], tmp_path / "r.html", limit=100_000)

    def test_names_of_runs_differ(self, tmp_path):
        with pytest.raises(ValueError, match="two runs are named 'run'"):
            write_report([made_up_run(), made_up_run()], tmp_path / "r.html")
