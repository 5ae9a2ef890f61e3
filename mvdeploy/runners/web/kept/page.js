// A page that measures without any program behind it: it runs the jobs of job.json one after the
// other, each in a fresh worker, shows what came of them, and saves it as a file.

import { sha256 } from "../runner/sha256.js";
import { medianInterval, percentile } from "./numbers.js";
import { plot } from "./plot.js";

const LARGEST_OUTPUTS = 4e6; // bytes of the outputs of one network that are saved
const REPORTED_MS = 1000; // times of one step that is told of

const element = (id) => document.getElementById(id);
const show = (id, text) => {
  element(id).textContent = text;
  element(id).hidden = false;
};

const isolated = self.crossOriginIsolated === true;
const done = []; // what came of each job
let page, text, threads, hidden, running;

/** What the browser says of itself; all of it is text. */
async function browser() {
  const data = navigator.userAgentData;
  const wanted = ["model", "platform", "platformVersion", "architecture", "fullVersionList"];
  const told = (await data?.getHighEntropyValues?.(wanted).catch(() => null)) ?? {};
  const brands = told.fullVersionList ?? data?.brands ?? [];
  const brand = brands.filter(({ brand }) => !/not.?a.?brand/i.test(brand.replace(/\W/g, " ")));
  const own = brand.find(({ brand }) => brand !== "Chromium") ?? brand[0];
  const all = {
    user_agent: navigator.userAgent,
    browser: own ? `${own.brand} ${own.version}` : "",
    platform: [told.platform || navigator.platform, told.platformVersion].filter(Boolean).join(" "),
    model: told.model,
    architecture: told.architecture,
    cores: navigator.hardwareConcurrency,
    memory_gb: navigator.deviceMemory,
    screen: `${screen.width} × ${screen.height}`,
    isolated: isolated ? "yes" : "no",
  };
  const known = Object.entries(all).filter(([, value]) => value !== undefined && value !== "");
  return Object.fromEntries(known.map(([name, value]) => [name, String(value).slice(0, 300)]));
}

const TITLES = {
  user_agent: "User agent",
  browser: "Browser",
  platform: "System",
  model: "Model",
  architecture: "Processor",
  cores: "Logical cores",
  memory_gb: "Memory in GB, about",
  screen: "Screen",
  isolated: "Page isolated",
};

function describe(told) {
  for (const [name, value] of Object.entries(told)) {
    const [term, definition] = [document.createElement("dt"), document.createElement("dd")];
    term.textContent = TITLES[name];
    definition.textContent = value;
    element("device").append(term, definition);
  }
}

/** Name a case, with what tells it from others of the page. */
function nameOf({ label, artifact, image_size, batch }) {
  const precisions = new Set(page.cases.map((one) => one.artifact.precision));
  const size = image_size && [...new Set(image_size)].join("×");
  const parts = [size && `${size} px`, batch && `batch ${batch}`];
  if (precisions.size > 1) parts.push(artifact.precision);
  return [label, ...parts.filter(Boolean)].join(" ");
}

async function open() {
  text = await (await fetch("job.json")).text();
  page = JSON.parse(text);
  const networks = page.cases.map(nameOf).join(" and ");
  const engine = page.cases[0].title;
  element("about").textContent =
    `${networks}, run by ${engine} in this browser: ${page.plan.iterations} inferences each, in ` +
    `${page.sessions.length} sessions. Nothing is sent anywhere.`;
  if (page.photograph) {
    element("photograph").src = page.photograph;
    element("photograph").hidden = false;
  }
  if (isolated) {
    element("threads").max = navigator.hardwareConcurrency ?? 1;
    element("choice").hidden = false;
  } else {
    show(
      "isolation",
      "This page is not isolated: its clock has steps of 100 µs or more, and the engine one thread. " +
        "The result says so, and fast networks cannot be told apart. For steps of 5 µs open the page " +
        "by https from a server that sends the headers in _headers, or on this machine by serve.py.",
    );
  }
  describe(await browser());
  element("start").disabled = false;
}

/** Run one job in a fresh worker; return what came of it. */
function run(job, number) {
  const { cases, engines, mvdeploy } = page;
  const [name] = job.models.map(({ engine }) => engine);
  const { version, sha256: sum, options } = engines[name];
  const about = {
    mvdeploy,
    pid: 0,
    cores: null,
    engines: { [name]: version },
    engine_options: { [name]: { ...options, num_threads: threads } },
    engine_sha256: { [name]: sum },
    clock: {},
  };
  const came = { started_at: new Date().toISOString(), events: [], outputs: {} };
  const worker = new Worker("runner/runner.js", { type: "module" });
  const outputs = [];
  let told = 0;
  return new Promise((resolve) => {
    const end = async () => {
      worker.terminate();
      const size = outputs.reduce((all, { body }) => all + body.size, 0);
      for (const { output, body } of size <= LARGEST_OUTPUTS ? outputs : []) {
        came.outputs[output] = await base64(body);
      }
      resolve(came);
    };
    const failed = (message) => {
      const remedy = "Open the page in a newer browser, or reload it and measure again.";
      came.events.push(JSON.stringify({ event: "error", kind: "run", message, remedy }));
      end();
    };
    worker.addEventListener("error", (event) =>
      failed(`The page's worker failed (${event.message || "a file could not be loaded"}).`),
    );
    worker.addEventListener("message", ({ data }) => {
      if ("output" in data) {
        outputs.push(data);
        return;
      }
      came.events.push(data.event);
      const kind = data.event.slice(10, 40).split('"')[0];
      if (kind === "done" || kind === "error") end();
      // What is drawn while inferences run may disturb them: seldom, and little.
      if (kind === "samples" && performance.now() - told > REPORTED_MS) {
        told = performance.now();
        const taken = samplesOf(came).length / job.order.length;
        element("progress").value = number + taken;
      }
    });
    const chosen = { ...engines[name], folder: `../engine/${name}/` };
    worker.postMessage({
      job: { ...job, threads },
      about,
      engines: { [name]: chosen },
      scope: "",
      coarse: true,
    });
  });
}

const base64 = (blob) =>
  new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.split(",")[1] ?? "");
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });

const eventsOf = (came, kind) =>
  came.events.map((line) => JSON.parse(line)).filter(({ event }) => event === kind);
const samplesOf = (came) => eventsOf(came, "samples").flatMap(({ wall_ns }) => wall_ns);

async function measure() {
  threads = isolated ? Math.max(1, Math.min(element("threads").valueAsNumber || 1, 64)) : 1;
  [hidden, running, done.length] = [document.hidden ? 1 : 0, true, 0];
  for (const id of ["start", "save", "threads"]) element(id).disabled = true;
  for (const id of ["failure", "hidden"]) element(id).hidden = true;
  const lock = await navigator.wakeLock?.request("screen").catch(() => null);
  const jobs = [...page.probes, ...page.sessions.map(({ job }) => job)];
  const bar = element("progress");
  [bar.hidden, bar.max, bar.value] = [false, jobs.length, 0];
  for (const [number, job] of jobs.entries()) {
    const probes = page.probes.length;
    element("step").textContent =
      number < probes ? `Load ${nameOf(page.cases[number])} and warm up` : `Session ${number - probes + 1} of ${jobs.length - probes}`;
    const came = await run(job, number);
    done.push(came);
    bar.value = number + 1;
    const [error] = eventsOf(came, "error");
    if (error) {
      show("failure", `${error.message} ${error.remedy} What was measured before can be saved.`);
      break;
    }
    if (number >= probes) draw();
  }
  await lock?.release().catch(() => null);
  running = false;
  const how = element("failure").hidden ? "Done." : "Ended early.";
  element("step").textContent = `${how} Save the result, and read it with: mvdeploy report result.json`;
  for (const id of ["start", "save", "threads"]) element(id).disabled = false;
}

/** Return the blocks of a case, in milliseconds, session by session. */
function blocksOf(index) {
  const model = page.probes[index].models[0].path;
  return done.slice(page.probes.length).flatMap((came, session) => {
    const { job, steady } = page.sessions[session];
    const at = job.models.findIndex(({ path }) => path === model);
    const times = samplesOf(came);
    if (times.length < job.order.length) return [];
    return [times.filter((_, i) => i < steady && job.order[i] === at).map((ns) => ns / 1e6)];
  });
}

function draw() {
  const all = page.cases.map((_, index) => blocksOf(index));
  const times = all.flat(2);
  if (!times.length) return;
  const limits = [Math.min(...times) * 0.98, percentile(times, 99) * 1.04];
  element("rows").replaceChildren();
  element("plots").replaceChildren();
  element("results").hidden = false;
  const width = Math.max(280, element("plots").clientWidth);
  all.forEach((sessions, index) => {
    const own = sessions.flat();
    const interval = medianInterval(sessions);
    const median = percentile(own, 50);
    const cells = {
      Network: nameOf(page.cases[index]),
      p50: median.toFixed(3),
      p90: percentile(own, 90).toFixed(3),
      "95 %": interval ? interval.map((ms) => ms.toFixed(3)).join(" – ") : "needs more",
      n: own.length,
    };
    const row = document.createElement("tr");
    for (const [name, value] of Object.entries(cells)) {
      const cell = document.createElement("td");
      cell.dataset.name = name;
      cell.textContent = value;
      row.append(cell);
    }
    element("rows").append(row);
    const heading = document.createElement("h3");
    heading.textContent = nameOf(page.cases[index]);
    element("plots").append(heading, plot(sessions, median, limits, width));
  });
}

/** Write a value as Python's json.dumps(sort_keys=True) does, for values without fractions. */
function plain(value) {
  if (Array.isArray(value)) return `[${value.map(plain).join(",")}]`;
  if (typeof value === "string") {
    return JSON.stringify(value).replace(
      /[\u007f-\uffff]/g,
      (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, "0")}`,
    );
  }
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const names = Object.keys(value).sort();
  return `{${names.map((name) => `${plain(name)}:${plain(value[name])}`).join(",")}}`;
}

async function save() {
  const body = {
    schema_version: page.schema_version,
    record: "WebResult",
    page: text,
    browser: await browser(),
    threads,
    hidden,
    saved_at: new Date().toISOString(),
    jobs: done,
  };
  body.checksum = await sha256([plain(body)]);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([JSON.stringify(body)], { type: "application/json" }));
  link.download = "result.json";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

document.addEventListener("visibilitychange", () => {
  if (!document.hidden || !running) return;
  hidden += 1;
  element("hidden").hidden = false;
});
window.addEventListener("resize", () => running === false && draw());
element("start").addEventListener("click", measure);
element("save").addEventListener("click", save);
open().catch((error) => show("failure", `The page could not be opened (${error.message}).`));
