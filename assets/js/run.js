/* One run, followed while it goes on; and the list of all runs. Data: app/api/runs.py. Texts reach the page as text only. */
(function () {
  "use strict";
  if (window.VitrineRun) return;

  const HIDDEN = new Set(["max_steps", "epoch"]);
  const OVER = new Set(["stopped", "finished", "failed"]);
  const KEY = { loss: "Loss", eval_loss: "Loss on held-out rows", grad_norm: "Gradient norm", learning_rate: "Learning rate",
    tokens_per_second: "Tokens per second", exact_match: "Exact match on held-out rows", seconds: "Seconds", tokens: "Tokens",
    prompt_tokens: "Prompt tokens" };

  const duration = (s) => (s < 60 ? `${Math.round(s)} s` : s < 3600 ? `${Math.floor(s / 60)} min ${Math.round(s % 60)} s` : `${Math.floor(s / 3600)} h ${Math.round((s % 3600) / 60)} min`);
  const short = (x) => (x === 0 ? "0" : Math.abs(x) >= 1000 ? x.toFixed(0) : Math.abs(x) >= 1 ? x.toFixed(2) : Math.abs(x) >= 0.001 ? x.toFixed(4) : x.toExponential(1));
  const when = (t) => new Date(t * 1000).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });

  async function json(path, options) {
    const base = location.href.split(/[?#]/)[0].replace(/[^/]*$/, "");
    const answer = await fetch(new URL(path.replace(/^\//, ""), base), options);
    let body = {};
    try { body = await answer.json(); } catch { /* not ours */ }
    if (!answer.ok) throw new Error(body.error || `The server answered ${answer.status}.`);
    return body;
  }

  /** A run's view inside `root`; returns show(id). */
  function view(root, { onChat }) {
    const C = window.VitrineCanvas, make = C.make;
    root.replaceChildren();
    root.className = "rv";
    const empty = make("p", "rv-empty", "No run is chosen: start one, or pick one in the list of the Runs tab.");
    const body = make("div", "rv-body"), head = make("div", "rv-head"), title = make("h3", "rv-title"), badge = make("span", "rv-state");
    const buttons = make("div", "rv-buttons"), bar = make("div", "rv-bar"), fill = make("div", "rv-fill"), facts = make("p", "rv-facts");
    const error = make("p", "rv-error"), pick = make("select", "rv-pick"), stage = make("div", "rv-stage"), canvas = make("canvas", "rv-chart");
    const read = make("p", "rv-read"), samples = make("div", "rv-samples"), more = make("details", "rv-more"), config = make("pre", "rv-config");
    error.setAttribute("role", "alert");
    badge.setAttribute("aria-live", "polite");
    canvas.setAttribute("role", "img");
    canvas.tabIndex = 0;
    pick.setAttribute("aria-label", "What to draw");
    bar.append(fill);
    stage.append(canvas);
    more.append(make("summary", "", "Parameters"), config);
    head.append(title, badge, buttons);
    body.append(head, bar, facts, error, pick, stage, read, samples, more);
    root.append(empty, body);

    let id = null, data = null, series = {}, cursor = 0, turn = 0, plot = null, at = -1, timer = 0;

    function button(text, work, primary) {
      const element = make("button", primary ? "rv-button rv-primary" : "rv-button", text);
      element.type = "button";
      element.dataset.key = text;
      element.addEventListener("click", async () => {
        element.disabled = true;
        try { await work(); } catch (problem) { say(problem.message); }
        element.disabled = false;
      });
      return element;
    }
    const say = (text) => { error.textContent = text || ""; error.hidden = !text; };
    const ask = (what) => async () => { await json(`/runs/${id}/${what}`, { method: "POST" }); say(""); await fetchOnce(turn); };

    function show(next) {
      turn++;
      clearTimeout(timer);
      id = next || null;
      data = null;
      series = {};
      cursor = 0;
      at = -1;
      root.dataset.state = id ? "loading" : "empty";
      delete root.dataset.steps;
      if (id) poll(turn);
    }

    async function poll(mine) {
      if (mine !== turn || !root.isConnected) return;
      if (root.offsetParent !== null) {
        try { await fetchOnce(mine); } catch (problem) { if (mine === turn) { root.dataset.state = "ready"; say(problem.message); } }
      }
      if (mine === turn && !(data && OVER.has(data.run.state) && root.dataset.settled === id)) timer = setTimeout(() => poll(mine), 1000);
    }

    async function fetchOnce(mine) {
      const answer = await json(`/runs/${id}?after=${cursor}`);
      if (mine !== turn) return;
      const before = data && data.run.state;
      data = answer;
      cursor = answer.cursor;
      for (const [step, name, value, time] of answer.rows) {
        const points = (series[name] = series[name] || []);
        // A resumed run writes steps again: what lies at or beyond this one is gone.
        while (points.length && points[points.length - 1].step >= step) points.pop();
        points.push({ step, value, time });
      }
      root.dataset.settled = OVER.has(data.run.state) ? id : "";
      root.dataset.state = "ready";
      root.dataset.run = data.run.state;
      root.dataset.steps = (series.loss || []).length;
      if (before && OVER.has(before) && !OVER.has(data.run.state)) poll(mine);
      draw();
    }

    function heads() {
      const { run } = data, going = !OVER.has(run.state);
      title.textContent = run.name;
      badge.textContent = run.state;
      badge.dataset.state = run.state;
      const offered = [];
      if (run.kind === "training") {
        if (going) offered.push(button("Stop and save", ask("stop")));
        else if (run.state !== "finished") offered.push(button("Resume", ask("resume"), true));
        if (data.adapter && onChat) offered.push(button("Chat with it", () => onChat(id), true));
      }
      C.keepFocus(buttons, () => buttons.replaceChildren(...offered));
      const loss = series.loss || [], total = (series.max_steps || []).at(-1)?.value || 0, done = loss.at(-1)?.step || 0, words = [];
      bar.hidden = run.kind !== "training";
      fill.style.width = total ? `${Math.min(100, (100 * done) / total)}%` : "0";
      if (run.kind === "training") {
        words.push(total ? `step ${done} of ${total}` : run.state === "queued" ? "waiting for its turn" : going ? "loading the model and the data …" : "no step yet");
        if (loss.length) words.push(`loss ${short(loss.at(-1).value)}${loss.length > 1 ? ` (from ${short(loss[0].value)})` : ""}`);
        const speed = (series.tokens_per_second || []).slice(-10);
        if (speed.length) words.push(`${Math.round(speed.reduce((a, p) => a + p.value, 0) / speed.length)} tokens/s`);
        const recent = loss.slice(-20);
        if (going && recent.length > 1 && total) {
          const each = (recent.at(-1).time - recent[0].time) / (recent.length - 1);
          words.push(`about ${duration(each * (total - done))} left`);
        }
        if (data.memory_mb) words.push(`${(data.memory_mb / 1024).toFixed(1)} GB memory`);
        const match = series.exact_match || [];
        if (match.length) words.push(`exact match ${match.map((p) => `${Math.round(100 * p.value)} % at step ${p.step}`).join(", ")}`);
      } else {
        for (const name of ["tokens", "seconds", "tokens_per_second"]) if (series[name]) words.push(`${short(series[name].at(-1).value)} ${name.replaceAll("_", " ")}`);
        words.push(run.model);
      }
      if (run.ended && run.started && !going) words.push(`took ${duration(run.ended - run.started)}`);
      facts.textContent = words.join(" · ");
      say(run.error);
      const names = Object.keys(series).filter((name) => !HIDDEN.has(name) && series[name].length > 1);
      if (names.join() !== pick.dataset.names) {
        const chosen = pick.value;
        pick.dataset.names = names.join();
        pick.replaceChildren(...names.map((name) => { const o = make("option", "", KEY[name] || name); o.value = name; return o; }));
        pick.value = names.includes(chosen) ? chosen : names.includes("loss") ? "loss" : names[0] || "";
      }
      pick.hidden = stage.hidden = read.hidden = !names.length;
      config.textContent = Object.entries(data.run.config).map(([key, value]) => `${key}: ${typeof value === "string" ? value : JSON.stringify(value, null, 1)}`).join("\n") + (data.folder ? `\nfolder: ${data.folder}` : "");
      drawSamples();
    }

    function drawSamples() {
      const key = JSON.stringify(data.samples);
      if (samples.dataset.key === key) return;
      samples.dataset.key = key;
      samples.replaceChildren();
      const prompts = [...new Set(data.samples.map((sample) => sample.prompt))];
      for (const prompt of prompts) {
        const box = make("div", "rv-sample");
        box.append(make("p", "rv-prompt", prompt));
        for (const sample of data.samples.filter((s) => s.prompt === prompt)) {
          const line = make("p", "rv-output");
          line.append(make("small", "", data.run.kind === "training" ? (sample.step ? `after ${sample.step} steps` : "before") : "answer"), make("span", "", sample.output));
          box.append(line);
        }
        samples.append(box);
      }
    }

    function chart() {
      const points = series[pick.value] || [];
      const room = stage.clientWidth;
      if (!room || points.length < 2) return;
      const t = C.theme(root), width = room, height = Math.max(180, Math.min(280, width * 0.4)), left = 52, bottom = 26, top = 10, right = 12;
      const g = C.prepare(canvas, width, height);
      let low = Infinity, high = -Infinity;
      for (const p of points) { low = Math.min(low, p.value); high = Math.max(high, p.value); }
      if (pick.value === "loss" || pick.value === "exact_match") low = Math.min(low, 0);
      if (high === low) high = low + (Math.abs(low) || 1);
      const first = points[0].step, last = points.at(-1).step;
      const x = (step) => left + ((step - first) / (last - first || 1)) * (width - left - right);
      const y = (value) => top + (1 - (value - low) / (high - low)) * (height - top - bottom);
      plot = { x, y, points };
      g.font = `12px ${t.font}`;
      g.textBaseline = "middle";
      g.textAlign = "right";
      for (let i = 0; i <= 4; i++) {
        const value = low + ((high - low) * i) / 4;
        g.strokeStyle = t.line;
        g.beginPath();
        g.moveTo(left, Math.round(y(value)) + 0.5);
        g.lineTo(width - right, Math.round(y(value)) + 0.5);
        g.stroke();
        g.fillStyle = t.quiet;
        g.fillText(short(value), left - 8, y(value));
      }
      g.textBaseline = "alphabetic";
      g.textAlign = "center";
      const ticks = Math.min(last - first, Math.max(2, Math.floor(width / 110)));
      for (let i = 0; i <= ticks; i++) {
        const step = Math.round(first + ((last - first) * i) / ticks);
        g.fillText(i === ticks ? `step ${step}` : step, Math.min(x(step), width - right - 24), height - 6);
      }
      const line = (values, style, w) => {
        g.strokeStyle = style;
        g.lineWidth = w;
        g.beginPath();
        points.forEach((p, i) => (i ? g.lineTo(x(p.step), y(values(p, i))) : g.moveTo(x(p.step), y(values(p, i)))));
        g.stroke();
      };
      // The thin line is what was measured; the thick one its exponential mean, corrected for its start (as Adam's).
      let mean = 0, weight = 0;
      const smooth = points.map((p) => { mean = 0.85 * mean + 0.15 * p.value; weight = 0.85 * weight + 0.15; return mean / weight; });
      if (points.length > 8) {
        g.globalAlpha = 0.45;
        line((p) => p.value, t.accent, 1);
        g.globalAlpha = 1;
        line((p, i) => smooth[i], t.accent, 2);
      } else line((p) => p.value, t.accent, 2);
      if (at >= 0 && at < points.length) {
        const p = points[at];
        g.fillStyle = t.accent;
        g.beginPath();
        g.arc(x(p.step), y(p.value), 4, 0, 7);
        g.fill();
      }
      const p = points[at >= 0 && at < points.length ? at : points.length - 1];
      read.textContent = `step ${p.step}: ${short(p.value)}` + (points.length > 8 ? " · thin: measured, thick: smoothed" : "");
      canvas.setAttribute("aria-label", `${KEY[pick.value] || pick.value} from ${short(points[0].value)} at step ${first} to ${short(points.at(-1).value)} at step ${last}. Arrow keys read it.`);
    }

    function draw() {
      if (!data) return;
      heads();
      chart();
    }
    canvas.addEventListener("mousemove", (event) => {
      if (!plot) return;
      const mouse = event.clientX - canvas.getBoundingClientRect().left;
      at = plot.points.reduce((best, p, i) => (Math.abs(plot.x(p.step) - mouse) < Math.abs(plot.x(plot.points[best].step) - mouse) ? i : best), 0);
      chart();
    });
    canvas.addEventListener("mouseleave", () => { at = -1; chart(); });
    canvas.addEventListener("keydown", (event) => {
      const last = plot ? plot.points.length - 1 : -1, here = at < 0 ? last : at;
      const to = { ArrowLeft: here - 1, ArrowRight: here + 1, Home: 0, End: last }[event.key];
      if (last < 0 || to === undefined) return;
      event.preventDefault();
      at = Math.max(0, Math.min(last, to));
      read.setAttribute("aria-live", "polite"); // said while the keys read it, not at each step of a training
      chart();
    });
    canvas.addEventListener("blur", () => read.removeAttribute("aria-live"));
    pick.addEventListener("change", () => { at = -1; chart(); });
    C.onChange(root, draw);
    show(null);
    return { show, get id() { return id; } };
  }

  /** The Train tab's panel: the value is {id}. */
  function mount(root, { props, watch, trigger }) {
    const panel = view(root.querySelector(".rv"), { onChat: (id) => trigger("chat", { id }) });
    const load = () => panel.show(props.value && props.value.id);
    watch("value", load);
    load();
  }

  /** The Runs tab: a list with a filter, and the chosen run. */
  function mountList(root, { trigger }) {
    const C = window.VitrineCanvas, make = C.make;
    const box = root.querySelector(".rl"), filter = box.querySelector(".rl-filter"), kind = box.querySelector(".rl-kind");
    const table = box.querySelector("tbody"), none = box.querySelector(".rl-none"), tools = box.querySelector(".rl-tools"), said = box.querySelector(".rl-said");
    const panel = view(box.querySelector(".rv"), { onChat: (id) => trigger("chat", { id }) });
    let runs = [], chosen = null, key = "";

    function draw() {
      const words = filter.value.trim().toLowerCase();
      const shown = runs.filter((run) => (kind.value === "all" || run.kind === kind.value) && `${run.name} ${run.model} ${run.state} ${run.id}`.toLowerCase().includes(words));
      const now = JSON.stringify([shown, chosen]);
      if (now === key) return;
      key = now;
      const rows = [];
      for (const run of shown) {
        const row = make("tr", run.id === chosen ? "rl-row rl-chosen" : "rl-row");
        row.tabIndex = 0;
        row.dataset.id = row.dataset.key = run.id;
        if (run.id === chosen) row.setAttribute("aria-current", "true");
        const state = make("td");
        const badge = make("span", "rv-state", run.state);
        badge.dataset.state = run.state;
        state.append(badge);
        const number = run.kind === "training" ? (run.loss !== undefined ? `loss ${short(run.loss)}` : "") : run.tokens_per_second ? `${run.tokens_per_second.toFixed(1)} tokens/s` : "";
        const name = make("td", "rl-name", run.name), made = when(run.created);
        name.append(make("small", "rl-narrow", [run.model, made].filter(Boolean).join(" · ")));
        row.append(name, state, make("td", "rl-model", run.model), make("td", "rl-number", number), make("td", "rl-when", made));
        const choose = () => { chosen = run.id; panel.show(run.id); draw(); };
        row.addEventListener("click", choose);
        row.addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); choose(); } });
        rows.push(row);
      }
      C.keepFocus(table, () => table.replaceChildren(...rows));
      none.hidden = shown.length > 0;
      none.textContent = runs.length ? "No run fits the filter." : "No runs yet: chat with a model or start a training, and it is listed here.";
      tools.hidden = !runs.some((run) => run.id === chosen);
    }
    async function act(what, body) {
      try {
        await json(`/runs/${chosen}/${what}`, { method: "POST", body: body ? JSON.stringify(body) : undefined });
        said.textContent = "";
        if (what === "delete") { chosen = null; panel.show(null); } else panel.show(chosen);
        await load();
      } catch (problem) { said.textContent = problem.message; }
    }
    const rename = box.querySelector(".rl-rename"), remove = box.querySelector(".rl-delete"), name = box.querySelector(".rl-new");
    rename.addEventListener("click", () => {
      if (name.hidden) { name.hidden = false; name.value = (runs.find((run) => run.id === chosen) || {}).name || ""; name.focus(); return; }
      name.hidden = true;
      act("rename", { name: name.value });
    });
    name.addEventListener("keydown", (event) => { if (event.key === "Enter") rename.click(); if (event.key === "Escape") name.hidden = true; });
    remove.addEventListener("click", () => {
      if (remove.dataset.sure !== chosen) { remove.dataset.sure = chosen; remove.textContent = "Delete for good?"; setTimeout(() => { remove.dataset.sure = ""; remove.textContent = "Delete"; }, 4000); return; }
      remove.dataset.sure = "";
      remove.textContent = "Delete";
      act("delete");
    });
    filter.addEventListener("input", draw);
    kind.addEventListener("change", draw);
    async function load() {
      try { runs = (await json("/runs")).runs; box.dataset.state = "ready"; draw(); } catch (problem) { said.textContent = problem.message; }
    }
    (async function loop() {
      if (!box.isConnected) return;
      if (box.offsetParent !== null) await load();
      setTimeout(loop, 2000);
    })();
  }

  window.VitrineRun = { mount };
  window.VitrineRuns = { mount: mountList };
})();
