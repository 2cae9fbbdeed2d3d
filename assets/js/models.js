// The Models tab: one row a model, with its download's progress or the reason why it cannot be used.
(() => {
  "use strict";
  const SOURCES = { starter: "starter", folder: "folder", hub: "hub cache" };
  const bytes = (n) => (n >= 1e9 ? `${(n / 1e9).toFixed(1)} GB` : n >= 1e6 ? `${Math.round(n / 1e6)} MB` : n ? `${Math.max(1, Math.round(n / 1e3))} kB` : "");
  const count = (n) => (n >= 1e9 ? `${(n / 1e9).toFixed(1)} B` : n >= 1e6 ? `${Math.round(n / 1e6)} M` : n ? `${Math.round(n / 1e3)} k` : "");

  async function json(url, options) {
    const answer = await fetch(url, options);
    const body = await answer.json().catch(() => ({}));
    if (!answer.ok) throw new Error(body.error || `The server said ${answer.status}.`);
    return body;
  }

  function mount(root, { trigger }) {
    const { make, keepFocus } = window.VitrineCanvas;
    const box = root.querySelector(".ml"), table = box.querySelector("tbody"), said = box.querySelector(".ml-said"), none = box.querySelector(".ml-none");
    const form = box.querySelector(".ml-form"), name = box.querySelector(".ml-name");
    const tasks = box.dataset.tasks.split(" ");
    let key = "";

    function button(text, model, act) {
      const made = make("button", "rv-button", text);
      made.type = "button";
      made.dataset.key = `${text} ${model}`;
      made.setAttribute("aria-label", `${text}: ${model}`);
      made.addEventListener("click", act);
      return made;
    }
    async function ask(what, model) {
      try {
        await json(`/models/${what}`, { method: "POST", body: JSON.stringify({ name: model }) });
        said.textContent = "";
      } catch (problem) { said.textContent = problem.message; }
      await load();
    }
    function progress(download) {
      const cell = make("div", "ml-progress");
      const bar = make("div", "rv-bar"), inner = make("i");
      inner.style.width = `${download.total ? (100 * download.done) / download.total : 0}%`;
      bar.append(inner);
      cell.append(bar, make("span", "", download.total ? `${bytes(download.done) || "0 MB"} of ${bytes(download.total)}` : "asking …"));
      return cell;
    }
    /** What is loaded: its memory, who uses it, and a button to let go of it. */
    function drawMemory(report) {
      const held = Object.entries(report.residents), sum = held.reduce((all, [, one]) => all + one.bytes, 0);
      box.querySelector(".ml-held").textContent = held.length
        ? `${bytes(sum)} of ${bytes(report.budget)} that models may hold. The one longest unused goes when another needs its room, or after ${Math.round(report.idle_limit / 60)} minutes without use.`
        : `Nothing: a model is loaded when it is first used. Models may hold ${bytes(report.budget)}.`;
      const lines = held.map(([name, one]) => {
        const line = make("li", "ml-resident"), use = one.running + one.calls, words = [bytes(one.bytes)];
        words.push(use ? `${use} at work` : one.idle < 60 ? "not in use" : `not in use for ${Math.round(one.idle / 60)} min`);
        if (one.waiting) words.push(`${one.waiting} in line`);
        line.append(make("b", "", name), make("span", "", words.join(" · ")), button("Unload", name, () => ask("unload", name)));
        return line;
      });
      const list = box.querySelector(".ml-residents");
      keepFocus(list, () => list.replaceChildren(...lines));
    }
    function draw(report) {
      const now = JSON.stringify(report);
      if (now === key) return;
      key = now;
      drawMemory(report);
      box.querySelector(".ml-folder").textContent = report.folder;
      const models = report.models.slice();
      for (const [fetched, download] of Object.entries(report.downloads))
        if (!models.some((model) => model.name === fetched) && download.state !== "done") models.push({ name: fetched, source: "hub", here: false, task: "", architecture: "" });
      const rows = [];
      for (const model of models) {
        const row = make("tr", "ml-row"), download = report.downloads[model.name];
        row.dataset.name = model.name;
        row.dataset.state = model.problem ? "broken" : model.here ? "here" : download ? download.state : "away";
        const title = make("td", "rl-name ml-title");
        const facts = [model.task, model.architecture, count(model.parameters), bytes(model.size)].filter(Boolean).join(" · ");
        title.append(make("b", "", model.name), make("small", "", [model.source === "hub" && !model.here ? "hub" : SOURCES[model.source], model.licence].filter(Boolean).join(" · ")), make("small", "ml-narrow", facts));
        const last = make("td", "ml-act");
        if (download && download.state === "running") last.append(progress(download), button("Stop", model.name, () => ask("stop", model.name)));
        else if (!model.here) {
          if (download && download.error) title.append(make("small", "ml-problem", download.error));
          last.append(button(download && download.state === "stopped" ? "Go on" : download ? "Try again" : "Fetch", model.name, () => ask("fetch", model.name)));
        } else if (model.problem) title.append(make("small", "ml-problem", model.problem));
        else if (tasks.includes(model.task))
          last.append(button(model.task === "text-generation" ? "Chat with it" : "Try it", model.name, () => trigger("pick", { id: model.name, task: model.task })));
        row.append(title, make("td", "", model.task), make("td", "", model.architecture), make("td", "rl-number", count(model.parameters)),
          make("td", "rl-number", bytes(model.size)), make("td", "rl-number", bytes(model.memory)), last);
        rows.push(row);
      }
      keepFocus(table, () => table.replaceChildren(...rows));
      none.hidden = models.length > 0;
      none.textContent = "No models yet: fetch one.";
      box.dataset.state = "ready";
    }
    async function load() {
      try { draw(await json("/models")); } catch (problem) { said.textContent = problem.message; }
    }
    form.addEventListener("submit", (event) => { event.preventDefault(); if (name.value.trim()) ask("fetch", name.value.trim()).then(() => { if (!said.textContent) name.value = ""; }); });
    (async function loop() {
      if (!box.isConnected) return;
      if (box.offsetParent !== null) await load();
      setTimeout(loop, 1000);
    })();
  }

  window.VitrineModels = { mount };
})();
