"""How fast the page is: bytes of a report, its first paint and a step of its slider, in headless Chromium.

Needs the extra [report], playwright and a Chromium. The run is made up (see page_runs.py).
"""

import argparse
import shutil
import statistics
import tempfile
from importlib.metadata import version
from pathlib import Path

from page_runs import made_up_run
from playwright.sync_api import sync_playwright
from results import Sheet, provenance, write_section
from rich.console import Console

from rra_monitor.page.report import write_report

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

# From the slider's event to the end of the frame that shows it, at each of some moments.
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


def measured(path, width, height):
    """Milliseconds of the first paint, and of each slider step by place on the page."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": height})
        page.goto(path.as_uri(), wait_until="commit")
        paint = page.evaluate(PAINTED)
        steps = {name: page.evaluate(STEPPED, {"steps": STEPS, "top": top}) for name, top in PLACES.items()}
        chromium = browser.version
        browser.close()
    return paint, steps, chromium


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--moments", type=int, default=250)
    parser.add_argument("--layers", type=int, default=60)
    parser.add_argument("--write", action="store_true", help="replace the section of RESULTS.md")
    given = parser.parse_args()
    console = Console()
    head = ["report", "MB", "first paint, ms", *(f"step: {name}, ms" for name in PLACES)]
    sheet = Sheet(
        "Median (and slowest) of 40 slider steps with that part of the page in sight, 1200 x 900 pixels", head
    )
    chromium = ""
    cases = {
        "one run, one probe": [made_up_run("a", given.moments, given.layers)],
        "one run, two probes": [made_up_run("a", given.moments, given.layers, ("train", "val"))],
        "two runs": [made_up_run(name, given.moments, given.layers, seed=seed) for seed, name in enumerate("ab")],
        "two runs of 13 layers, 20 moments": [made_up_run(name, 20, 13, seed=seed) for seed, name in enumerate("ab")],
    }
    with tempfile.TemporaryDirectory() as folder:
        for name, runs in cases.items():
            report = write_report(runs, Path(folder) / "report.html")
            paint, steps, chromium = measured(report.path, 1200, 900)
            kept = "" if not report.notes else " (thinned to 8 MB)"
            cells = [f"{statistics.median(times):.0f} ({max(times):.0f})" for times in steps.values()]
            sheet.rows.append([name + kept, f"{report.size / 1e6:.1f}", f"{paint:.0f}", *cells])
    sheet.print(console)
    if given.write:
        about = provenance(2, {"plotly": version("plotly"), "Chromium": chromium})
        title = f"## The page: {given.moments} snapshots of {given.layers} layers"
        write_section("page", f"{title}\n\n{sheet.markdown()}\n\n{about}\n")


if __name__ == "__main__":
    main()
