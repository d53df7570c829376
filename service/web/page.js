// The list of studies and the way to hand one in. Text from the service is only ever set as text.
"use strict";

const byId = (id) => document.getElementById(id);
const LIST_EVERY_MS = 3000;
const ASK_EVERY_MS = 400;

const STATES = {
  queued: ["waiting", "quiet"],
  running: ["reading", "quiet"],
  succeeded: ["read", "good"],
  refused: ["refused", "warn"],
  failed: ["failed", "bad"],
};

async function ask(path, options) {
  const response = await fetch(path, { credentials: "same-origin", ...options });
  if (response.status === 401) {
    byId("sign-in").hidden = false;
    byId("hand-in").hidden = true;
  }
  const isJson = (response.headers.get("content-type") || "").includes("json");
  const body = isJson ? await response.json() : null;
  if (!response.ok) {
    throw new Error((body && body.detail) || `the service answered ${response.status}`);
  }
  return body;
}

function element(name, text, className) {
  const made = document.createElement(name);
  if (text) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function findings(study) {
  const summary = study.summary;
  if (study.reason) return study.reason.message;
  if (!summary) return study.stage ? `${study.stage} …` : "";
  const said = [
    ["Unhealed", summary.unhealed],
    ["Pathological features", summary.pathological],
    ["Edema", summary.edema.filter((level) => !summary.unhealed.includes(level))],
    ["Healed", summary.healed],
  ].filter(([, levels]) => levels.length).map(([name, levels]) => `${name}: ${levels.join(", ")}`);
  if (summary.abstentions.length) {
    said.push(`not said: ${summary.abstentions.join(", ").replaceAll("_", " ")}`);
  }
  return [`${summary.levels} levels`, ...said].join(" · ");
}

function row(study) {
  const [state, tone] = STATES[study.state];
  const uid = study.study_instance_uid;
  const cells = [
    element("td", new Date(study.received_at).toLocaleString()),
    element("td", uid ? `…${uid.slice(-12)}` : `job ${study.job_id.slice(0, 8)}`),
    element("td", state, tone),
    element("td", findings(study)),
    element("td"),
  ];
  if (uid) cells[1].title = uid;
  if (study.links.report) {
    const link = element("a", "open");
    link.href = study.links.report;
    link.setAttribute("aria-label", `open the report of ${cells[1].textContent}`);
    cells[4].append(link);
  }
  const made = element("tr");
  made.append(...cells);
  return made;
}

let shown = "";

async function list() {
  const { studies } = await ask("/v1/studies");
  byId("none").hidden = studies.length > 0;
  // Rebuilding equal rows would take the keyboard focus away from a link.
  const now = JSON.stringify(studies);
  if (now === shown) return;
  shown = now;
  byId("studies").replaceChildren(...studies.map(row));
}

function say(text, tone) {
  byId("said").textContent = text;
  byId("said").className = tone || "";
}

function send(body, type) {
  // fetch() tells nothing of how far an upload has come.
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", "/v1/studies");
    request.setRequestHeader("Accept", "application/json");
    if (type) request.setRequestHeader("Content-Type", type);
    request.upload.onprogress = (event) => {
      if (event.lengthComputable) byId("bar").value = event.loaded / event.total;
    };
    request.onerror = () => reject(new Error("the service cannot be reached"));
    request.onload = () => {
      const answer = JSON.parse(request.responseText || "{}");
      if (request.status === 202) resolve(answer);
      else reject(new Error(answer.detail || `the service answered ${request.status}`));
    };
    request.send(body);
  });
}

async function follow(job) {
  byId("bar").removeAttribute("value");
  for (;;) {
    const study = await ask(job.links.job);
    if (study.state === "succeeded") return study;
    if (study.state === "refused" || study.state === "failed") {
      throw new Error(study.reason.message);
    }
    say(study.stage ? `Reading the study: ${study.stage} …` : "Waiting for the worker …");
    await new Promise((done) => setTimeout(done, ASK_EVERY_MS));
  }
}

async function handIn(files) {
  if (!files.length) return say("There is no file in it.", "warn");
  const isZip = files.length === 1 && /\.zip$/i.test(files[0].name);
  let body = files[0];
  if (!isZip) {
    body = new FormData();
    for (const file of files) body.append("files", file, file.name);
  }
  byId("progress").hidden = false;
  byId("bar").value = 0;
  try {
    say(`Sending ${files.length} file${files.length === 1 ? "" : "s"} …`);
    const study = await follow(await send(body, isZip ? "application/zip" : null));
    say("Read. Opening the report …", "good");
    location.assign(study.links.report);
  } catch (error) {
    say(error.message, "bad");
  } finally {
    byId("progress").hidden = true;
    list().catch(() => {});
  }
}

async function filesOf(entry) {
  if (entry.isFile) return [await new Promise((done, fail) => entry.file(done, fail))];
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    // A reader gives at most a hundred entries at a time.
    const some = await new Promise((done, fail) => reader.readEntries(done, fail));
    if (!some.length) return found;
    for (const each of some) found.push(...(await filesOf(each)));
  }
}

async function dropped(event) {
  event.preventDefault();
  byId("drop").classList.remove("over");
  const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry());
  const files = [];
  for (const entry of entries.filter(Boolean)) files.push(...(await filesOf(entry)));
  await handIn(files);
}

function chosen(event) {
  const files = [...event.target.files];
  event.target.value = "";
  handIn(files);
}

async function signIn(event) {
  event.preventDefault();
  try {
    await ask("/v1/session", {
      method: "POST",
      headers: { Authorization: `Bearer ${byId("key").value}` },
    });
    byId("key").value = "";
    byId("sign-in-error").textContent = "";
    byId("sign-in").hidden = true;
    byId("hand-in").hidden = false;
    await list();
  } catch (error) {
    byId("sign-in-error").textContent = error.message;
  }
}

byId("sign-in").addEventListener("submit", signIn);
byId("folder").addEventListener("change", chosen);
byId("files").addEventListener("change", chosen);
byId("drop").addEventListener("drop", dropped);
byId("drop").addEventListener("dragover", (event) => {
  event.preventDefault();
  byId("drop").classList.add("over");
});
byId("drop").addEventListener("dragleave", () => byId("drop").classList.remove("over"));

const refresh = () => list().catch(() => {});
refresh();
setInterval(refresh, LIST_EVERY_MS);
