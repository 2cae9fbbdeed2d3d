/* All heads as thumbnails, one head large, one token's attention as a strip. Data: app/api/attention.py. */
(function () {
  "use strict";
  if (window.VitrineAttention) return;

  const LEFT = 30, TOP = 36, GROUP = 8, KEPT = 24;

  function mount(root, { props, watch }) {
    const C = window.VitrineCanvas;
    const find = (name) => root.querySelector("." + name);
    const view = find("av"), grid = find("av-grid"), large = find("av-large"), say = find("av-say"), strip = find("av-strip");
    const readout = find("av-readout"), bars = find("av-bars"), next = find("av-next"), title = find("av-title");
    let info = null, lod = null, side = [0, 0], cell = 32, thumbs = [];
    let layer = 0, head = 0, scope = "head", shown = null, plot = null, query = -1, key = -1, pinned = false, turn = 0;
    let by = "query", as = "map";
    const cache = new Map();

    // ------------------------------------------------------------------ data

    async function load(value) {
      const mine = ++turn;
      cache.clear();
      thumbs = [];
      shown = lod = null;
      query = key = -1;
      pinned = false;
      info = value && value.id ? value : null;
      view.dataset.state = info ? "loading" : "empty";
      view.dataset.large = "";
      if (!info) return;
      layer = Math.min(layer, info.layers - 1);
      head = Math.min(head, info.heads - 1);
      fillStrip();
      fillNext();
      try {
        const answer = await C.bytes(`/attention/${info.id}/lod`);
        if (mine !== turn) return;
        lod = new Uint8Array(answer.data);
        side = answer.dims.slice(2);
        const hide = info.causal ? (r, c) => c * side[0] > r * side[1] + side[1] - 1 : null;
        for (let l = 0; l < info.layers; l++)
          for (let h = 0; h < info.heads; h++)
            thumbs.push(C.picture(lod, (l * info.heads + h) * side[0] * side[1], side[0], side[1], hide));
        view.dataset.state = "ready";
        drawGrid();
        await open(layer, head, scope);
      } catch (error) {
        if (mine === turn) fail(error);
      }
    }

    function fail(error) {
      view.dataset.state = "error";
      find("av-error").textContent = `${error.message} Press Run again to see this text.`;
    }

    async function open(l, h, what) {
      if (!info) return;
      [layer, head, scope] = [l, h, what];
      view.dataset.layer = layer;
      view.dataset.head = head;
      view.dataset.scope = scope;
      view.dataset.large = "loading";
      for (const button of root.querySelectorAll("[data-pick]")) button.setAttribute("aria-pressed", button.dataset.pick === scope);
      drawGrid();
      const id = info.id;
      const path = `/attention/${id}/` + { head: `head/${layer}/${head}`, layer: `mean/${layer}`, all: "mean" }[scope];
      try {
        if (!cache.has(path)) {
          if (cache.size >= KEPT) cache.delete(cache.keys().next().value);
          const answer = await C.bytes(path);
          if (!info || info.id !== id) return;
          cache.set(path, new Uint8Array(answer.data));
        }
        if (path !== `/attention/${id}/` + { head: `head/${layer}/${head}`, layer: `mean/${layer}`, all: "mean" }[scope]) return;
        const n = info.tokens.length;
        shown = { bytes: cache.get(path), n };
        shown.image = C.picture(shown.bytes, 0, n, n, info.causal ? (r, c) => c > r : null);
        if (query < 0 || query >= n) query = n - 1;
        title.textContent = name();
        drawLarge();
        showQuery();
        view.dataset.large = "ready";
      } catch (error) {
        if (info && info.id === id) fail(error);
      }
    }

    const kv = (h) => Math.floor((h * info.kv_heads) / info.heads);
    const grouped = () => info.kv_heads !== info.heads;
    const headName = (l, h) => `layer ${l} · head ${h}` + (grouped() ? ` · kv head ${kv(h)}` : "");
    const name = () =>
      scope === "head" ? headName(layer, head) : scope === "layer" ? `layer ${layer} · mean of ${info.heads} heads`
        : `mean of all ${info.layers * info.heads} heads`;

    // ------------------------------------------------------------------ all heads

    const columnAt = (h) => LEFT + h * cell + (grouped() ? kv(h) * GROUP : 0);

    function drawGrid() {
      if (!lod || !grid.parentElement.clientWidth) return;
      const room = grid.parentElement.clientWidth - LEFT - (grouped() ? info.kv_heads * GROUP : 0) - 2;
      cell = Math.floor(Math.max(18, Math.min(64, room / info.heads, Math.max(26, 620 / info.layers))));
      const width = columnAt(info.heads - 1) + cell + 2, height = TOP + info.layers * cell + 2;
      const t = C.theme(view), g = C.prepare(grid, width, height);
      g.font = `11px ${t.font}`;
      g.fillStyle = t.quiet;
      g.textBaseline = "middle";
      g.textAlign = "center";
      for (let h = 0; h < info.heads; h++) g.fillText(h, columnAt(h) + cell / 2, TOP - 9);
      const size = info.heads / info.kv_heads;
      if (grouped())
        for (let k = 0; k < info.kv_heads; k++) {
          const from = columnAt(k * size), to = columnAt((k + 1) * size - 1) + cell;
          g.fillText(C.fit(g, `kv ${k}`, to - from), (from + to) / 2, 8);
          g.fillRect(from + 1, 16, to - from - 3, 1);
        }
      else g.fillText("head", columnAt(0) + ((columnAt(info.heads - 1) + cell - columnAt(0)) / 2), 8);
      g.textAlign = "right";
      for (let l = 0; l < info.layers; l++) {
        g.fillText(l, LEFT - 6, TOP + l * cell + cell / 2);
        for (let h = 0; h < info.heads; h++) g.drawImage(thumbs[l * info.heads + h], columnAt(h), TOP + l * cell, cell - 2, cell - 2);
      }
      g.strokeStyle = t.accent;
      g.lineWidth = 2;
      if (scope === "head") g.strokeRect(columnAt(head) - 1, TOP + layer * cell - 1, cell, cell);
      else if (scope === "layer") g.strokeRect(LEFT - 1, TOP + layer * cell - 1, columnAt(info.heads - 1) + cell - LEFT, cell);
      else g.strokeRect(LEFT - 1, TOP - 1, columnAt(info.heads - 1) + cell - LEFT, info.layers * cell);
      if (marked && (scope !== "head" || marked[0] !== layer || marked[1] !== head) && document.activeElement === grid) {
        g.setLineDash([3, 2]);
        g.strokeStyle = t.text;
        g.strokeRect(columnAt(marked[1]) - 1, TOP + marked[0] * cell - 1, cell, cell);
        g.setLineDash([]);
      }
    }

    let marked = null; // what the arrow keys point at

    function hit(event) {
      const box = grid.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
      const l = Math.floor((y - TOP) / cell);
      if (!lod || l < 0 || l >= info.layers) return null;
      for (let h = 0; h < info.heads; h++) if (x >= columnAt(h) && x < columnAt(h) + cell) return [l, h];
      return null;
    }

    grid.addEventListener("mousemove", (event) => {
      const at = hit(event);
      grid.style.cursor = at ? "pointer" : "default";
      say.textContent = at ? headName(...at) : "";
    });
    grid.addEventListener("mouseleave", () => { say.textContent = ""; });
    grid.addEventListener("click", (event) => {
      const at = hit(event);
      if (!at) return;
      marked = at;
      open(at[0], at[1], "head");
    });
    grid.addEventListener("focus", () => { marked = marked || [layer, head]; drawGrid(); });
    grid.addEventListener("blur", drawGrid);
    grid.addEventListener("keydown", (event) => {
      if (!lod) return;
      const [l, h] = marked || [layer, head];
      const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
      if (event.key === "Enter" || event.key === " ") open(l, h, "head");
      else if (event.key in moves) {
        const clamp = (x, top) => Math.max(0, Math.min(top - 1, x));
        marked = [clamp(l + moves[event.key][0], info.layers), clamp(h + moves[event.key][1], info.heads)];
        say.textContent = headName(...marked) + " · Enter opens it";
        drawGrid();
        const box = grid.parentElement, y = TOP + marked[0] * cell;
        if (y < box.scrollTop) box.scrollTop = y - cell;
        else if (y + cell > box.scrollTop + box.clientHeight) box.scrollTop = y + 2 * cell - box.clientHeight;
      } else return;
      event.preventDefault();
    });

    // ------------------------------------------------------------------ one head

    function drawLarge(target, density) {
      if (!shown) return;
      const room = large.parentElement.clientWidth;
      if (!room) return;
      if (as === "lines") return drawLines(target, density, Math.min(room, 620));
      const n = shown.n, t = C.theme(view), small = room < 480;
      const probe = large.getContext("2d");
      probe.font = `12px ${t.font}`;
      const longest = Math.max(...info.tokens.map((token) => probe.measureText(token).width));
      const margin = Math.ceil(Math.min(longest + 12, small ? 64 : 104));
      const pixel = Math.max(1, Math.min(small ? 34 : 40, Math.floor((Math.min(room, 760) - margin - 8) / n) || 1));
      const length = Math.min(n * pixel, Math.min(room, 760) - margin - 8), step = length / n;
      const width = margin + length + 8, height = margin + length + 48;
      const g = C.prepare(target || large, Math.max(width, Math.min(room, 300)), height, density);
      if (target) {
        g.fillStyle = t.back;
        g.fillRect(0, 0, 4000, 4000);
      }
      g.imageSmoothingEnabled = false;
      g.drawImage(shown.image, margin, margin, length, length);
      plot = { margin, length, step };
      g.strokeStyle = t.line;
      g.lineWidth = 1;
      g.strokeRect(margin - 0.5, margin - 0.5, length + 1, length + 1);
      g.font = `${Math.max(10, Math.min(12, step - 1))}px ${t.font}`;
      g.textBaseline = "middle";
      const skip = Math.max(1, Math.ceil(12 / step));
      const label = (i, chosen) => {
        const middle = margin + (i + 0.5) * step;
        return { middle, colour: chosen ? t.text : t.quiet };
      };
      const near = (i, chosen) => chosen >= 0 && i !== chosen && Math.abs(i - chosen) * step < 12;
      for (let i = 0; i < n; i++) {
        if ((i % skip === 0 && !near(i, query)) || i === query) {
          const at = label(i, i === query);
          g.fillStyle = at.colour;
          g.textAlign = "right";
          g.fillText(C.fit(g, info.tokens[i], margin - 10), margin - 5, at.middle);
        }
        if ((i % skip === 0 && !near(i, key)) || i === key) {
          const at = label(i, i === key);
          g.save();
          g.translate(at.middle, margin - 5);
          g.rotate(-Math.PI / 2);
          g.textAlign = "left";
          g.fillStyle = at.colour;
          g.fillText(C.fit(g, info.tokens[i], margin - 10), 0, 0);
          g.restore();
        }
      }
      g.strokeStyle = t.accent;
      g.lineWidth = 1.5;
      if (query >= 0 && by === "query") g.strokeRect(margin - 1, margin + query * step - 0.75, length + 2, step + 1.5);
      if (key >= 0 || by === "key") {
        const column = by === "key" ? query : key;
        if (by === "key") g.strokeRect(margin + column * step - 0.75, margin - 1, step + 1.5, length + 2);
        else if (step >= 3) g.strokeRect(margin + column * step, margin + query * step, step, step);
      }
      legend(g, t, margin, margin + length + 14, Math.min(length, 220));
    }

    // Tokens that read on the left, tokens read on the right; a line as opaque as the square root of its attention.
    function drawLines(target, density, width) {
      const n = shown.n, t = C.theme(view), step = Math.max(2, Math.min(20, 1400 / n)), top = 22;
      const probe = large.getContext("2d");
      probe.font = `11px ${t.font}`;
      const edge = Math.min(Math.max(...info.tokens.map((token) => probe.measureText(token).width)) + 14, width * 0.32);
      const height = top + n * step + 8, g = C.prepare(target || large, width, height, density);
      if (target) {
        g.fillStyle = t.back;
        g.fillRect(0, 0, width, height);
      }
      plot = { lines: true, top, step, middle: width / 2 };
      const y = (i) => top + (i + 0.5) * step, chosen = (q, k) => (by === "query" ? q : k) === query;
      const least = [n > 128 ? 81 : n > 48 ? 57 : 26, 13]; // bytes: 10 %, 5 % or 1 %; of the chosen token 0.3 %
      g.strokeStyle = t.accent;
      for (const front of [false, true])
        for (let q = 0; q < n; q++)
          for (let k = 0; k < n; k++) {
            const byte = shown.bytes[q * n + k];
            if (byte < least[+front] || chosen(q, k) !== front) continue;
            g.globalAlpha = front ? Math.max(0.15, byte / 255) : (0.16 * byte) / 255;
            g.lineWidth = front ? 1 + (3 * byte) / 255 : 1;
            g.beginPath();
            g.moveTo(edge, y(q));
            g.lineTo(width - edge, y(k));
            g.stroke();
          }
      g.globalAlpha = 1;
      g.textBaseline = "middle";
      g.font = `11px ${t.font}`;
      g.fillStyle = t.quiet;
      g.textAlign = "right";
      g.fillText("reads", edge - 6, 9);
      g.textAlign = "left";
      g.fillText("is read", width - edge + 6, 9);
      const skip = Math.max(1, Math.ceil(12 / step));
      for (let i = 0; i < n; i++) {
        const left = by === "query" && i === query, right = by === "key" && i === query;
        const near = Math.abs(i - query) * step < 12 && i !== query;
        const text = C.fit(g, info.tokens[i], edge - 12);
        if (left || (i % skip === 0 && !(by === "query" && near))) {
          g.fillStyle = left ? t.text : t.quiet;
          g.textAlign = "right";
          g.fillText(text, edge - 6, y(i));
        }
        if (right || (i % skip === 0 && !(by === "key" && near))) {
          g.fillStyle = right ? t.text : t.quiet;
          g.textAlign = "left";
          g.fillText(text, width - edge + 6, y(i));
        }
      }
      g.fillStyle = t.accent;
      g.fillRect(by === "query" ? edge - 3 : width - edge, y(query) - Math.max(4, step / 2 - 1), 3, Math.max(8, step - 2));
    }

    function legend(g, t, x, y, width) {
      const long = Math.max(width, 120);
      for (let i = 0; i < long; i++) {
        g.fillStyle = C.colour(Math.round((255 * i) / (long - 1)));
        g.fillRect(x + i, y, 1.5, 8);
      }
      g.font = `10px ${t.font}`;
      g.fillStyle = t.quiet;
      for (const p of [0, 0.05, 0.25, 1]) {
        g.textAlign = p === 0 ? "left" : p === 1 ? "right" : "center";
        g.fillText(p * 100 + (p === 1 ? " %" : ""), x + Math.sqrt(p) * long, y + 17);
      }
    }

    function cellAt(event) {
      if (!plot || !shown) return null;
      const box = large.getBoundingClientRect();
      if (plot.lines) {
        const i = Math.floor((event.clientY - box.top - plot.top) / plot.step);
        return i < 0 || i >= shown.n ? null : [i, i];
      }
      const k = Math.floor((event.clientX - box.left - plot.margin) / plot.step);
      const q = Math.floor((event.clientY - box.top - plot.margin) / plot.step);
      if (q >= shown.n || k >= shown.n || (q < 0 && k < 0)) return null;
      return [q, k];
    }

    let drawing = 0;
    function look(q, k) {
      query = Math.max(0, Math.min(shown.n - 1, q));
      key = k;
      if (!drawing) drawing = requestAnimationFrame(() => { drawing = 0; if (shown) { drawLarge(); showQuery(); } });
    }

    function point([q, k]) {
      if (plot.lines) look(q, -1);
      else if (by === "query") look(q, k);
      else look(k < 0 ? query : k, q);
    }

    large.addEventListener("mousemove", (event) => {
      const at = cellAt(event);
      if (at && at[0] >= 0 && !pinned) point(at);
    });
    large.addEventListener("click", (event) => {
      const at = cellAt(event);
      if (!at || at[0] < 0) return;
      pinned = !pinned;
      point(at);
    });
    // Up and down go from row to row, left and right from column to column; of the lines all four go from token to token.
    large.addEventListener("keydown", (event) => {
      const move = { ArrowUp: -1, ArrowDown: 1, ArrowLeft: -1, ArrowRight: 1, Enter: 0, " ": 0 }[event.key];
      if (move === undefined || !shown) return;
      event.preventDefault();
      if (!move) pinned = !pinned;
      const along = event.key.endsWith(by === "query" ? "Up" : "Left") || event.key.endsWith(by === "query" ? "Down" : "Right");
      const other = Math.max(0, Math.min(shown.n - 1, (key < 0 ? query : key) + move));
      if (!move || along || as === "lines") look(query + move, as === "lines" ? -1 : key);
      else look(query, other);
    });

    // ------------------------------------------------------------------ one token

    const byteAt = (i) => (by === "query" ? shown.bytes[query * shown.n + i] : shown.bytes[i * shown.n + query]);
    const future = (i) => info.causal && (by === "query" ? i > query : i < query);

    function fillStrip() {
      strip.replaceChildren();
      info.tokens.forEach((token, i) => {
        const chip = C.make("button", "av-token");
        chip.type = "button";
        chip.dataset.index = i;
        chip.append(C.make("span", "", token), C.make("small", ""));
        strip.append(chip);
      });
      C.rove(strip);
    }

    function fillNext() {
      const list = find("av-nextlist");
      list.replaceChildren();
      next.hidden = !info.predictions.length;
      for (const [token, p] of info.predictions) list.append(bar(token, p, info.predictions[0][1]));
    }

    function bar(token, p, most, index) {
      const row = C.make("div", "av-bar"), track = C.make("span", "av-track"), fill = C.make("span", "av-fill");
      fill.style.width = `${(100 * p) / (most || 1)}%`;
      track.append(fill);
      const word = C.make("span", "av-word", token);
      if (index !== undefined) word.append(C.make("small", "", ` ${index}`));
      row.append(word, track, C.make("span", "av-number", C.percent(p)));
      return row;
    }

    function showQuery() {
      if (!shown || query < 0) return;
      view.dataset.query = query;
      view.dataset.pinned = pinned;
      const chips = strip.children, rows = [];
      for (let i = 0; i < shown.n; i++) {
        const byte = byteAt(i), p = C.value(byte), chip = chips[i], out = future(i);
        chip.style.background = out ? "" : C.colour(byte);
        chip.style.color = out ? "" : C.ink(byte);
        chip.classList.toggle("av-out", out);
        chip.classList.toggle("av-now", i === query);
        chip.setAttribute("aria-pressed", i === query);
        chip.lastChild.textContent = out ? "–" : p < 0.0005 ? "0" : C.percent(p);
        chip.title = out ? "comes later: out of this token's sight" : `${info.tokens[i]}: ${(100 * p).toFixed(2)} %`;
        if (!out) rows.push([i, p]);
      }
      rows.sort((a, b) => b[1] - a[1]);
      bars.replaceChildren();
      const reads = by === "query" ? "reads from" : "is read by";
      bars.append(C.make("p", "av-lead", `“${info.tokens[query]}” (token ${query}) ${reads}`));
      for (const [i, p] of rows.slice(0, 8)) bars.append(bar(info.tokens[i], p, rows[0][1], i));
      const other = key >= 0 && key < shown.n ? key : rows[0][0];
      const [q, k] = by === "query" ? [query, other] : [other, query];
      const p = C.value(shown.bytes[q * shown.n + k]);
      readout.textContent = `“${info.tokens[q]}” (${q}) → “${info.tokens[k]}” (${k}): ` +
        (info.causal && k > q ? "comes later, not seen" : `${(100 * p).toFixed(2)} %`) + (pinned ? " · held: click the map, or press Enter there, to let go" : "");
    }

    const chipOf = (event) => event.target.closest && event.target.closest(".av-token");
    strip.addEventListener("mouseover", (event) => {
      const chip = chipOf(event);
      if (chip && shown && !pinned) look(+chip.dataset.index, -1);
    });
    strip.addEventListener("click", (event) => {
      const chip = chipOf(event);
      if (!chip || !shown) return;
      const i = +chip.dataset.index;
      pinned = !(pinned && i === query);
      look(i, -1);
    });
    strip.addEventListener("focusin", (event) => {
      const chip = chipOf(event);
      if (chip && shown && !pinned) look(+chip.dataset.index, -1);
    });

    // ------------------------------------------------------------------ choices

    for (const button of root.querySelectorAll("[data-pick]"))
      button.addEventListener("click", () => open(layer, head, button.dataset.pick));
    for (const button of root.querySelectorAll("[data-by]"))
      button.addEventListener("click", () => {
        by = button.dataset.by;
        key = -1;
        for (const other of root.querySelectorAll("[data-by]")) other.setAttribute("aria-pressed", other === button);
        if (shown) { drawLarge(); showQuery(); }
      });
    for (const button of root.querySelectorAll("[data-as]"))
      button.addEventListener("click", () => {
        as = view.dataset.as = button.dataset.as;
        key = -1;
        for (const other of root.querySelectorAll("[data-as]")) other.setAttribute("aria-pressed", other === button);
        drawLarge();
      });
    find("av-save").addEventListener("click", () => {
      if (!shown) return;
      const canvas = document.createElement("canvas");
      drawLarge(canvas, 3);
      canvas.toBlob((blob) => {
        const link = document.createElement("a");
        link.href = URL.createObjectURL(blob);
        link.download = `attention-${name().replace(/[^a-z0-9]+/g, "-")}.png`;
        link.click();
        setTimeout(() => URL.revokeObjectURL(link.href), 5000);
      });
    });

    C.onChange(view, () => { drawGrid(); drawLarge(); });
    watch("value", () => load(props.value));
    load(props.value);
  }

  window.VitrineAttention = { mount };
})();
