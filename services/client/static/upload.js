"use strict";
// Packs a chosen or dropped folder as a tar.gz and uploads it, or an archive as it is, and names it in the form.

const BLOCK = 512;
const encoder = new TextEncoder();

function put(header, text, at, width) {
  header.set(encoder.encode(text).subarray(0, width), at);
}

function block(name, size, kind) {
  const made = new Uint8Array(BLOCK);
  put(made, name, 0, 100);
  put(made, "0000644\0", 100, 8);
  put(made, "0000000\0", 108, 8);
  put(made, "0000000\0", 116, 8);
  put(made, size.toString(8).padStart(11, "0") + "\0", 124, 12);
  put(made, "00000000000\0", 136, 12);
  put(made, "        ", 148, 8);
  put(made, kind, 156, 1);
  put(made, "ustar\u000000", 257, 8);
  const sum = made.reduce((total, byte) => total + byte, 0);
  put(made, sum.toString(8).padStart(6, "0") + "\0 ", 148, 8);
  return made;
}

const rest = (size) => new Uint8Array((BLOCK - (size % BLOCK)) % BLOCK);

function header(path, size) {
  const name = encoder.encode(path);
  if (name.length <= 100) return [block(path, size, "0")];
  // A longer name has a member of its own before it, whose length counts its own digits.
  const line = encoder.encode(" path=" + path + "\n");
  let length = line.length + 1;
  while (String(length).length + line.length !== length) length += 1;
  return [block("long", length, "x"), encoder.encode(String(length)), line, rest(length), block("file", size, "0")];
}

const sheet = document.querySelector("[data-upload]");
// `tshell pack` leaves out the same folders: those that only tools need, and environments, which fit no other machine.
const LEFT_OUT = new Set(sheet?.dataset.notPacked.split(" "));
const OF_AN_ENVIRONMENT = sheet?.dataset.environment.split(" ").map((name) => "/" + name) ?? [];

function wanted(files) {
  const paths = new Set(files.map((each) => each.path));
  const roots = [...paths].flatMap((path) => OF_AN_ENVIRONMENT.filter((name) => path.endsWith(name)).map((name) => path.slice(0, 1 - name.length)));
  const isJob = files.some((each) => each.path.split("/")[1] === "code");
  return files.filter(({ path }) => {
    const folders = path.split("/").slice(0, -1);
    if (isJob && !["code", "data"].includes(folders[1])) return false;
    if (folders.some((each) => LEFT_OUT.has(each)) || roots.some((root) => path.startsWith(root))) return false;
    return !(path.endsWith(".pyc") && paths.has(path.slice(0, -1)));
  });
}

async function packed(files) {
  const parts = [];
  for (const { path, file } of files.sort((a, b) => (a.path < b.path ? -1 : 1))) {
    parts.push(...header(path, file.size), file, rest(file.size));
  }
  parts.push(new Uint8Array(2 * BLOCK));
  const zipped = new Blob(parts).stream().pipeThrough(new CompressionStream("gzip"));
  return new Response(zipped).blob();
}

function upload(body, project, bar) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("PUT", "/api/v1/packages?project=" + encodeURIComponent(project));
    request.setRequestHeader("Content-Type", "application/gzip");
    request.upload.addEventListener("progress", (event) => { bar.value = event.loaded / (event.total || 1); });
    request.addEventListener("error", () => reject(new Error("the upload broke off")));
    request.addEventListener("load", () => {
      let answer = {};
      try { answer = JSON.parse(request.responseText); } catch { /* not ours: the status says enough */ }
      if (request.status === 200) resolve(answer);
      else reject(new Error(answer.faults?.map((fault) => fault.problem).join("; ") || "status " + request.status));
    });
    request.send(body);
  });
}

async function take(coming, isFolder) {
  const [bar, report, form] = [sheet.querySelector("progress"), sheet.querySelector("[data-progress]"), sheet.closest("form")];
  const buttons = form.querySelectorAll("button");
  buttons.forEach((each) => { each.disabled = true; });
  bar.hidden = false;
  bar.value = 0;
  try {
    report.textContent = "packing";
    const files = await coming;
    const body = isFolder ? await packed(wanted(files)) : files[0].file;
    if (body.size > Number(sheet.dataset.most)) throw new Error("it is larger than may be uploaded here");
    report.textContent = "uploading";
    const stored = await upload(body, form.elements.project?.value ?? "", bar);
    form.elements.package.value = stored.package;
    form.elements.package_sha256.value = stored.package_sha256;
    report.textContent = "uploaded, " + stored.size + " bytes";
  } catch (error) {
    report.textContent = "not uploaded: " + error.message;
  }
  bar.hidden = true;
  buttons.forEach((each) => { each.disabled = false; });
}

async function below(entry, path = entry.name) {
  if (entry.isFile) return [{ path, file: await new Promise((resolve, reject) => entry.file(resolve, reject)) }];
  if (LEFT_OUT.has(entry.name)) return [];
  const [reader, found] = [entry.createReader(), []];
  for (;;) {
    // A reader gives a hundred at a time, and none at the end.
    const part = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!part.length) return (await Promise.all(found.map((each) => below(each, path + "/" + each.name)))).flat();
    found.push(...part);
  }
}

sheet?.addEventListener("change", (event) => {
  const input = event.target;
  if (input.type !== "file" || !input.files.length) return;
  take([...input.files].map((file) => ({ path: file.webkitRelativePath, file })), "folder" in input.dataset);
});

["dragenter", "dragover", "dragleave", "drop"].forEach((kind) => sheet?.addEventListener(kind, (event) => {
  if (!event.dataTransfer?.types.includes("Files")) return;
  event.preventDefault();
  sheet.classList.toggle("over", kind === "dragenter" || kind === "dragover");
  const [entry, ...others] = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (kind !== "drop" || sheet.querySelector("progress:not([hidden])")) return;
  if (!entry || others.length) sheet.querySelector("[data-progress]").textContent = "drop one folder, or one archive";
  else take(below(entry), entry.isDirectory);
}));
