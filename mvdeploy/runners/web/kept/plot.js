// Samples of one network as a picture: a dot for each inference, a row for each session.

const SPACE = "http://www.w3.org/2000/svg";
const [ROW, FOOT] = [26, 26];

/**
 * Draw samples.
 *
 * @param sessions milliseconds of each
 * @param median of all of them
 * @param limits the least and the largest value of the axis
 * @param width in pixels
 */
export function plot(sessions, median, [least, largest], width) {
  const height = sessions.length * ROW + FOOT;
  const x = (value) => 8 + ((value - least) / (largest - least)) * (width - 16);
  const svg = node("svg", { viewBox: `0 0 ${width} ${height}`, role: "img" });
  const title = document.createElementNS(SPACE, "title");
  title.textContent = "A dot for each inference, a row for each session; the line is the median.";
  svg.append(title);
  const bottom = sessions.length * ROW;
  svg.append(node("line", { class: "axis", x1: 0, x2: width, y1: bottom, y2: bottom }));
  for (const tick of ticks(least, largest)) {
    const at = x(tick);
    svg.append(node("line", { class: "axis", x1: at, x2: at, y1: 0, y2: bottom }));
    const anchor = at > width - 40 ? "end" : at < 40 ? "start" : "middle";
    const text = node("text", { x: at, y: bottom + 17, "text-anchor": anchor });
    text.textContent = `${tick} ms`;
    svg.append(text);
  }
  sessions.forEach((session, row) =>
    session.forEach((value, i) => {
      const spread = ((i * 7) % 13) - 6; // so that equal times do not hide each other
      const cx = x(Math.min(value, largest));
      svg.append(node("circle", { class: "sample", cx, cy: (row + 0.5) * ROW + spread, r: 2.5 }));
    }),
  );
  svg.append(node("line", { class: "median", x1: x(median), x2: x(median), y1: 0, y2: bottom }));
  return svg;
}

function ticks(least, largest) {
  const rough = (largest - least) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  const found = [];
  for (let i = Math.ceil(least / step); i * step <= largest; i++) {
    found.push(Number((i * step).toPrecision(6)));
  }
  return found;
}

function node(name, attributes) {
  const made = document.createElementNS(SPACE, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}
