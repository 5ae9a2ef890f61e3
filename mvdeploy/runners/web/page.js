// The page of the web runner: it starts the worker that does the job, and tells what becomes of itself.

const tell = (state, words = "") =>
  fetch("page", { method: "POST", body: JSON.stringify({ state, words }), keepalive: true });

// A browser slows hidden pages down, and stops frozen ones without a word.
const visibility = () => document.hidden && tell("hidden");
document.addEventListener("visibilitychange", visibility);
document.addEventListener("freeze", () => tell("frozen"));
visibility();

const worker = new Worker("runner.js", { type: "module" });
worker.addEventListener("error", (event) => {
  tell("failed", event.message || "a file of the runner could not be loaded");
});
