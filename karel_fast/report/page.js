"use strict";
// The page is whole without this. It points at numbers, follows one snapshot through all figures, and moves robots along their traces.
const SVG = "http://www.w3.org/2000/svg";
const NEAR = 18; // units of a drawing, 1/72 inch
const tip = document.getElementById("tip");

function element(parent, name, attributes) {
  const made = parent.appendChild(document.createElementNS(SVG, name));
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

// -- numbers of a drawing: by pointer and by arrow keys

function showTip(drawing, point) {
  const svg = drawing.querySelector("svg");
  const matrix = svg.getScreenCTM();
  const at = new DOMPoint(point[0], point[1]).matrixTransform(matrix);
  tip.textContent = point[2];
  tip.hidden = false;
  const left = Math.max(4, Math.min(at.x + 12, innerWidth - tip.offsetWidth - 4));
  const above = at.y - tip.offsetHeight - 10;
  tip.style.left = `${left}px`;
  tip.style.top = `${above > 4 ? above : at.y + 14}px`;
  drawing.querySelectorAll(".pointed").forEach((ring) => ring.remove());
  element(svg, "circle", { class: "pointed", cx: point[0], cy: point[1], r: 5 });
}

function hideTip(drawing) {
  tip.hidden = true;
  drawing.querySelectorAll(".pointed").forEach((ring) => ring.remove());
}

const drawings = [...document.querySelectorAll(".drawing")].map((drawing) => {
  const panels = JSON.parse(drawing.dataset.points).panels;
  const points = panels.flatMap((panel) => panel.points);
  let current = -1;
  const point = (event) => {
    const place = new DOMPoint(event.clientX, event.clientY).matrixTransform(drawing.querySelector("svg").getScreenCTM().inverse());
    let nearest = null;
    let least = NEAR;
    for (const one of points) {
      const distance = Math.hypot(one[0] - place.x, one[1] - place.y);
      if (distance < least) [nearest, least] = [one, distance];
    }
    if (nearest) showTip(drawing, nearest);
    else hideTip(drawing);
  };
  drawing.addEventListener("pointermove", point);
  drawing.addEventListener("pointerdown", point); // a tap
  drawing.addEventListener("pointerleave", () => hideTip(drawing));
  drawing.addEventListener("blur", () => hideTip(drawing));
  drawing.addEventListener("keydown", (event) => {
    const way = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") hideTip(drawing);
    if (!way || !points.length) return;
    event.preventDefault();
    current = (current + way + points.length) % points.length;
    showTip(drawing, points[current]);
  });
  return { drawing, panels };
});

// -- one snapshot in all figures over training

const slider = document.getElementById("slider");

function follow(index) {
  for (const { drawing, panels } of drawings) {
    drawing.querySelectorAll(".cursor").forEach((mark) => mark.remove());
    if (index < 0) continue;
    const svg = drawing.querySelector("svg");
    for (const { box, at, points } of panels) {
      if (at.length && at[index] !== null) element(svg, "line", { class: "cursor", x1: at[index], x2: at[index], y1: box[1], y2: box[3] });
      for (const point of points)
        if (point[3] === index) element(svg, "circle", { class: "cursor", cx: point[0], cy: point[1], r: 4.5 });
    }
  }
  for (const figure of document.querySelectorAll(".plot")) {
    const panels = JSON.parse(figure.querySelector(".drawing").dataset.points).panels;
    const moves = panels.some((panel) => panel.at.length);
    const said = panels.flatMap((panel) => panel.points).filter((point) => point[3] === index).map((point) => point[2].replace(/, step \d+$/, ""));
    const reading = figure.querySelector(".reading");
    reading.hidden = index < 0 || !moves;
    reading.textContent = said.length > 24 ? "" : said.join("; ") || "Not measured at this snapshot.";
    reading.hidden ||= !reading.textContent;
  }
}

if (slider) {
  const lines = JSON.parse(slider.dataset.snapshots);
  const range = slider.querySelector("input");
  const output = slider.querySelector("output");
  const stop = slider.querySelector("button");
  const start = output.textContent;
  slider.hidden = false;
  range.addEventListener("input", () => {
    output.textContent = lines[range.value];
    range.setAttribute("aria-valuetext", lines[range.value]);
    stop.hidden = false;
    follow(Number(range.value));
  });
  slider.addEventListener("reset", () => {
    output.textContent = start;
    stop.hidden = true;
    follow(-1);
  });
  slider.addEventListener("submit", (event) => event.preventDefault());
}

// -- samples

for (const example of document.querySelectorAll(".example")) {
  const worlds = [...example.querySelectorAll(".io")];
  const rows = [...example.querySelectorAll("tr[data-step]")];
  const walk = example.querySelector(".walk");
  const range = walk.querySelector("input");
  const choose = (number) => {
    worlds.forEach((w) => {
      w.classList.toggle("chosen", w.dataset.world === number);
      w.setAttribute("aria-pressed", String(w.dataset.world === number));
    });
    example.querySelectorAll("td span[data-world]").forEach((s) => { s.hidden = s.dataset.world !== number; });
  };
  const show = (step) => {
    range.value = step;
    walk.querySelector("output").textContent = step === 0 ? "at the start" : `after action ${step}`;
    rows.forEach((r) => r.classList.toggle("now", r.dataset.step === String(step)));
    for (const world of worlds) {
      const places = world.dataset.robots.split(";");
      const robot = world.querySelector(".got .robot");
      if (robot) robot.setAttribute("transform", places[Math.min(step, places.length - 1)]);
    }
  };
  walk.hidden = false;
  range.addEventListener("input", () => show(Number(range.value)));
  worlds.forEach((w) => {
    w.tabIndex = 0;
    w.setAttribute("role", "button");
    w.addEventListener("click", () => choose(w.dataset.world));
    w.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      choose(w.dataset.world);
    });
  });
  rows.forEach((r) => ["mouseenter", "focus"].forEach((e) => r.addEventListener(e, () => show(Number(r.dataset.step)))));
  choose("0");
}
const which = document.getElementById("which");
if (which) which.addEventListener("change", () => {
  for (const example of document.querySelectorAll(".example"))
    example.hidden = which.value !== "all" && example.dataset.verdict !== which.value;
});

// On a phone the list of sections would be the first thing to scroll past.
if (matchMedia("(max-width: 40rem)").matches) document.querySelector(".contents").open = false;
document.documentElement.classList.add("alive");
document.documentElement.dataset.ready = "true";
