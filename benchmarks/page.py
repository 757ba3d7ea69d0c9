"""How fast the page is: bytes of a report, its first paint and a step of its slider, in headless Chromium.

The same of TensorBoard's tab, whose first paint is counted from the start of its frame, in a real TensorBoard that has
read the run. Needs the extras [report, tensorboard], playwright and a Chromium. The runs are made up.
"""

import argparse
import shutil
import statistics
import sys
import tempfile
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from page_runs import made_up_run
from playwright.sync_api import sync_playwright
from results import Sheet, provenance, write_section
from rich.console import Console

from rra_monitor.page.report import write_report

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.helpers.tensorboard_records import made_up_record, write_records
from tests.helpers.tensorboard_server import serving

STEPS = 40

# From the beginning of the navigation until every figure in sight stands in its place and a frame has been shown.
PAINTED = """() => new Promise((resolve) => {
  const look = () => {
    const plots = [...document.querySelectorAll('.plot')];
    const seen = plots.filter((plot) => plot.getBoundingClientRect().top < innerHeight);
    if (seen.length && seen.every((plot) => plot.querySelector('.main-svg'))) {
      requestAnimationFrame(() => setTimeout(() => resolve(performance.now())));
    } else setTimeout(look, 5);
  };
  look();
})"""

# From the slider's event to the end of the frame that shows it, at each of some snapshots.
STEPPED = """async ({steps, top}) => {
  document.querySelector(top)?.scrollIntoView({block: 'center'});
  await new Promise((resolve) => setTimeout(resolve, 1000));
  const slider = document.querySelector('.slider input');
  const times = [];
  for (let step = 1; step <= steps; step += 1) {
    const begin = performance.now();
    slider.value = Math.round(step * slider.max / (steps + 1));
    slider.dispatchEvent(new Event('input', {bubbles: true}));
    await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(resolve))));
    times.push(performance.now() - begin);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return times;
}"""

PLACES = {
    "curves": "section[aria-label='Curves over the layers']",
    "matrices": "section[aria-label='Layer similarity'] .grid",
    "development": "section[aria-label='Development over the epochs'] .grid",
    "A minus B": "section[aria-label='Difference'] .grid",
}


@contextmanager
def opened(width=1200, height=900):
    """A page of a browser of its own, so that nothing is in a cache."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield browser.new_page(viewport={"width": width, "height": height})
        browser.close()


def timed(frame):
    """Milliseconds of the first paint, and of each slider step by place on the page."""
    paint = frame.evaluate(PAINTED)
    return paint, {name: frame.evaluate(STEPPED, {"steps": STEPS, "top": top}) for name, top in PLACES.items()}


def report_times(path):
    with opened() as page:
        page.goto(path.as_uri(), wait_until="commit")
        return (*timed(page.main_frame), page.context.browser.version)


def tab_times(logdir, frames, layers):
    """The same of the tab, of a run whose every moment TensorBoard has read."""
    names = ("input", *(f"encoder.stage{layer // 16}.{layer % 16}" for layer in range(layers - 2)), "head")
    records = (made_up_record(step, ["prev"] if step else [], layers=names) for step in range(frames))
    write_records(logdir / "run", records, scalars="summaries")
    with serving(logdir) as server:
        found = server.run("run", lambda run: len(run["frames"]) == frames)
        if len(found["frames"]) != frames:
            raise RuntimeError(f"TensorBoard has read {len(found['frames'])} of {frames} snapshots, and no more came")
        with opened() as page:
            with page.expect_event("framenavigated", lambda frame: "plugin_entry" in frame.url) as frame:
                page.goto(f"{server.url}#rra", wait_until="commit")
            return timed(frame.value)


def row(name, size, paint, steps):
    cells = [f"{statistics.median(times):.0f} ({max(times):.0f})" for times in steps.values()]
    return [name, size, f"{paint:.0f}", *cells]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=250)
    parser.add_argument("--layers", type=int, default=60)
    parser.add_argument("--write", action="store_true", help="replace the section of RESULTS.md")
    given = parser.parse_args()
    console = Console()
    head = ["page", "MB", "first paint, ms", *(f"step: {name}, ms" for name in PLACES)]
    sheet = Sheet(
        "Median (and slowest) of 40 slider steps with that part of the page in sight, 1200 x 900 pixels", head
    )
    chromium = ""
    cases = {
        "one run, one probe": [made_up_run("a", given.frames, given.layers)],
        "one run, two probes": [made_up_run("a", given.frames, given.layers, ("train", "val"))],
        "two runs": [made_up_run(name, given.frames, given.layers, seed=seed) for seed, name in enumerate("ab")],
        "two runs of 13 layers, 20 snapshots": [made_up_run(name, 20, 13, seed=seed) for seed, name in enumerate("ab")],
    }
    with tempfile.TemporaryDirectory() as folder:
        for name, runs in cases.items():
            report = write_report(runs, Path(folder) / "report.html")
            paint, steps, chromium = report_times(report.path)
            kept = "" if not report.notes else " (thinned to 8 MB)"
            sheet.rows.append(row(name + kept, f"{report.size / 1e6:.1f}", paint, steps))
        tab = f"TensorBoard's tab, one run of {given.frames} x {given.layers}"
        sheet.rows.append(row(tab, "", *tab_times(Path(folder) / "logs", given.frames, given.layers)))
    sheet.print(console)
    if given.write:
        software = {"plotly": version("plotly"), "TensorBoard": version("tensorboard"), "Chromium": chromium}
        about = provenance(2, software)
        title = f"## The page: {given.frames} snapshots of {given.layers} layers"
        write_section("page", f"{title}\n\n{sheet.markdown()}\n\n{about}\n")


if __name__ == "__main__":
    main()
