// Draws each .plot of the page from the JSON beside it. Colours come from the style sheet, so that a
// dark or a printed page gets its own.
"use strict";
(function () {
  const HEIGHT = 330;
  const PALETTE = 8;
  let drawn = [];

  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // 1234567 -> "1.23M"; small numbers keep three digits.
  function short(value) {
    if (value == null) return "–";
    const size = Math.abs(value);
    for (const [unit, sign] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
      if (size >= unit) return Number((value / unit).toPrecision(3)) + sign;
    }
    return String(Number(value.toPrecision(3)));
  }

  // 1/(1-p) -> "99.9 %".
  function percentile(inverse) {
    if (inverse == null) return "–";
    const digits = Math.max(0, Math.ceil(Math.log10(inverse) - 2 - 1e-9));
    return (100 - 100 / inverse).toFixed(inverse < 10 ? 0 : digits) + " %";
  }

  const format = { linear: short, log: short, percentile };

  // 1, 2, … 9, 10, 20, … within the range.
  function logSplits(plot, index, low, high) {
    const splits = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power += 1) {
      for (let digit = 1; digit <= 9; digit += 1) {
        const split = Number(`${digit}e${power}`);
        if (split >= low && split <= high) splits.push(split);
      }
    }
    return splits;
  }

  // Over many decades only they are labelled, over a few 1, 2 and 5 of each, over less all digits.
  function labels(scale) {
    return (plot, splits) => {
      if (scale === "linear") return splits.map(short);
      const decades = Math.log10(splits[splits.length - 1] / splits[0]);
      const digits = decades > 3 || scale === "percentile" ? "1" : decades > 1.2 ? "125" : "123456789";
      return splits.map((value) => (digits.includes(value.toExponential()[0]) ? format[scale](value) : ""));
    };
  }

  function axis(described, side) {
    const base = {
      label: described.label,
      labelSize: 22,
      labelFont: "12px system-ui, sans-serif",
      font: "12px system-ui, sans-serif",
      stroke: style("--faint"),
      grid: { stroke: style("--grid"), width: 1 },
      ticks: { stroke: style("--grid"), width: 1, size: 5 },
      splits: described.scale === "linear" ? undefined : logSplits,
      // All of them: `values` picks those that get a text.
      filter: (plot, splits) => splits,
      values: labels(described.scale),
    };
    return side === "y" ? { ...base, size: 58 } : { ...base, size: 34 };
  }

  function scale(described) {
    if (described.scale === "linear") return { time: false, range: (plot, low, high) => [Math.min(0, low), high * 1.06 || 1] };
    return { time: false, distr: 3, range: (plot, low, high) => span(low, high) };
  }

  // A little room on both sides of what is shown, not whole decades.
  function span(low, high) {
    if (low == null || high == null) return [1, 10];
    const room = Math.max((high / low) ** 0.05, 1.15);
    return [low / room, high * room];
  }

  function series(described, chart) {
    const colour = style("--c" + (described.colour % PALETTE));
    const stepped = chart.stepped;
    return {
      label: described.name,
      stroke: colour,
      width: 2,
      dash: described.colour >= PALETTE ? [6, 4] : undefined,
      spanGaps: true,
      fill: stepped ? colour + "22" : undefined,
      paths: stepped ? uPlot.paths.stepped({ align: 1 }) : undefined,
      points: { show: !stepped && described.points.length <= 24, size: 6 },
      value: (plot, value) => format[chart.y.scale](value),
    };
  }

  function draw(place) {
    const chart = JSON.parse(place.nextElementSibling.textContent);
    const tables = chart.series.map((one) => [one.points.map((p) => p[0]), one.points.map((p) => p[1])]);
    const options = {
      width: place.clientWidth,
      height: HEIGHT,
      scales: { x: scale(chart.x), y: scale(chart.y) },
      axes: [axis(chart.x, "x"), axis(chart.y, "y")],
      series: [
        { label: chart.x.label, value: (plot, value) => format[chart.x.scale](value) },
        ...chart.series.map((one) => series(one, chart)),
      ],
      padding: [10, 28, 0, 0],
      cursor: { drag: { x: true, y: true, uni: 30 } },
    };
    place.replaceChildren();
    return new uPlot(options, uPlot.join(tables), place);
  }

  function drawAll() {
    drawn.forEach((plot) => plot.destroy());
    drawn = [...document.querySelectorAll(".plot")].map(draw);
  }

  // A printed page is light whatever the screen is.
  function printing(on) {
    document.documentElement.classList.toggle("printing", on);
    drawAll();
  }

  drawAll();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  addEventListener("beforeprint", () => printing(true));
  addEventListener("afterprint", () => printing(false));
  addEventListener("resize", () => drawn.forEach((plot) => {
    plot.setSize({ width: plot.root.parentElement.clientWidth, height: HEIGHT });
  }));
})();
