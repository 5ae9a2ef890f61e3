// What the runner asks of, and tells, the program that opened its page.
//
// Requests that are made while inferences are timed wait for their answer, so that nothing of them
// is left to run beside the next inference. `kept/channel.js` stands in the place of this file where
// there is no such program.

export { Failed, stage, wordsOf } from "./failing.js";

/** Return what is to be done: the job, and what is said of it in `hello`. */
export const given = async () => (await fetch("job.json")).json();

export function send(path, body) {
  const request = new XMLHttpRequest();
  request.open("POST", path, false);
  request.send(body);
  if (request.status !== 200) throw new Error(`${path}: ${request.responseText}`);
  return request.responseText;
}

export function ask(path) {
  const request = new XMLHttpRequest();
  request.open("GET", path, false);
  request.send();
  return Number(request.responseText);
}

export async function bytesOf(path) {
  const response = await fetch(path);
  if (!response.ok) throw new Error(`${path}: ${response.status} ${response.statusText}`);
  return new Uint8Array(await response.arrayBuffer());
}

/** Write an event: its name and its fields. */
export function emit(event, fields = {}) {
  send("events", JSON.stringify({ event, ...fields }) + "\n");
}
