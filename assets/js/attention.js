/* All heads as thumbnails, one head large, one token's attention as a strip. Data: app/api/attention.py. */
(function () {
  "use strict";
  if (window.VitrineAttention) return;

  const LEFT = 30, TOP = 36, GROUP = 8, KEPT = 24;

  function mount(root, { props, watch }) {
    const C = window.VitrineCanvas;
    const find = (name) => root.querySelector("." + name);
    const view = find("av"), grid = find("av-grid"), large = find("av-large"), say = find("av-say"), picture = find("av-picture");
    const strips = { query: find("av-rows"), key: find("av-columns") };
    const readout = find("av-readout"), bars = find("av-bars"), next = find("av-next"), title = find("av-title");
    let info = null, lod = null, side = [0, 0], cell = 32, thumbs = [];
    let layer = 0, head = 0, scope = "head", shown = null, plot = null, query = -1, key = -1, pinned = false, turn = 0;
    let by = "query", as = "map", pixels = null;
    const cache = new Map();

    // ------------------------------------------------------------------ data

    async function load(value) {
      const mine = ++turn;
      cache.clear();
      thumbs = [];
      shown = lod = pixels = null;
      query = key = -1;
      pinned = false;
      info = value && value.id ? value : null;
      view.dataset.state = info ? "loading" : "empty";
      view.dataset.large = "";
      if (!info) return;
      layer = Math.min(layer, info.layers - 1);
      head = Math.min(head, info.heads - 1);
      view.dataset.crossed = info.crossed;
      view.dataset.image = !!info.grid;
      fillStrip(strips.query, info.tokens);
      fillStrip(strips.key, info.crossed ? info.columns : []);
      fillNext();
      try {
        const answer = await C.bytes(`/attention/${info.id}/lod`);
        if (mine !== turn) return;
        lod = new Uint8Array(answer.data);
        side = answer.dims.slice(2);
        if (info.grid) pixels = await imageOf(info.id);
        if (mine !== turn) return;
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
        shown = { bytes: cache.get(path), rows: info.tokens.length, columns: info.columns.length };
        shown.image = C.picture(shown.bytes, 0, shown.rows, shown.columns, info.causal ? (r, c) => c > r : null);
        if (query < 0 || query >= chosen().length) query = info.grid ? 0 : chosen().length - 1;
        title.textContent = name();
        drawLarge();
        showQuery();
        view.dataset.large = "ready";
      } catch (error) {
        if (info && info.id === id) fail(error);
      }
    }

    // `query` is a place among those chosen from, `key` among the others: rows and columns, or by "is read by" columns and rows.
    const chosen = () => (by === "query" ? info.tokens : info.columns);
    const others = () => (by === "query" ? info.columns : info.tokens);
    const byteOf = (q, k) => shown.bytes[q * shown.columns + k];

    async function imageOf(id) {
      const answer = await C.bytes(`/attention/${id}/image`), [height, width] = answer.dims, rgb = new Uint8Array(answer.data);
      const canvas = C.make("canvas"), data = new ImageData(width, height);
      canvas.width = width;
      canvas.height = height;
      for (let i = 0; i < width * height; i++) data.data.set([rgb[3 * i], rgb[3 * i + 1], rgb[3 * i + 2], 255], 4 * i);
      canvas.getContext("2d").putImageData(data, 0, 0);
      return canvas;
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
      const { rows, columns } = shown, t = C.theme(view), small = room < 480;
      const probe = large.getContext("2d");
      probe.font = `12px ${t.font}`;
      const edgeOf = (words) => Math.ceil(Math.min(Math.max(...words.map((word) => probe.measureText(word).width)) + 12, small ? 64 : 104));
      const left = edgeOf(info.tokens), top = edgeOf(info.columns), most = Math.min(room, 760) - left - 8;
      const pixel = Math.max(1, Math.min(small ? 34 : 40, Math.floor(most / columns) || 1));
      const width = Math.min(columns * pixel, most), stepX = width / columns;
      const stepY = info.crossed ? Math.min(40, Math.max(stepX, Math.min(18, 620 / rows))) : stepX, height = rows * stepY;
      const g = C.prepare(target || large, Math.max(left + width + 8, Math.min(room, 300)), top + height + 48, density);
      if (target) {
        g.fillStyle = t.back;
        g.fillRect(0, 0, 4000, 4000);
      }
      g.imageSmoothingEnabled = false;
      g.drawImage(shown.image, left, top, width, height);
      plot = { left, top, stepX, stepY };
      g.strokeStyle = t.line;
      g.lineWidth = 1;
      g.strokeRect(left - 0.5, top - 0.5, width + 1, height + 1);
      g.textBaseline = "middle";
      const [row, column] = by === "query" ? [query, key] : [key, query];
      const labels = (words, step, held, draw) => {
        g.font = `${Math.max(10, Math.min(12, step - 1))}px ${t.font}`;
        const skip = Math.max(1, Math.ceil(12 / step));
        words.forEach((word, i) => {
          const near = held >= 0 && i !== held && Math.abs(i - held) * step < 12;
          if ((i % skip || near) && i !== held) return;
          g.fillStyle = i === held ? t.text : t.quiet;
          draw(word, (i + 0.5) * step);
        });
      };
      labels(info.tokens, stepY, row, (word, middle) => {
        g.textAlign = "right";
        g.fillText(C.fit(g, word, left - 10), left - 5, top + middle);
      });
      labels(info.columns, stepX, column, (word, middle) => {
        g.save();
        g.translate(left + middle, top - 5);
        g.rotate(-Math.PI / 2);
        g.textAlign = "left";
        g.fillText(C.fit(g, word, top - 10), 0, 0);
        g.restore();
      });
      g.strokeStyle = t.accent;
      g.lineWidth = 1.5;
      if (by === "query") g.strokeRect(left - 1, top + query * stepY - 0.75, width + 2, stepY + 1.5);
      else g.strokeRect(left + query * stepX - 0.75, top - 1, stepX + 1.5, height + 2);
      if (by === "query" && key >= 0 && stepX >= 3) g.strokeRect(left + key * stepX, top + query * stepY, stepX, stepY);
      legend(g, t, left, top + height + 14, Math.min(width, 220));
    }

    // Tokens that read on the left, tokens read on the right; a line as opaque as the square root of its attention.
    function drawLines(target, density, width) {
      const { rows, columns } = shown, t = C.theme(view), most = Math.max(rows, columns), top = 22;
      const step = Math.max(2, Math.min(20, 1400 / most));
      const probe = large.getContext("2d");
      probe.font = `11px ${t.font}`;
      const edgeOf = (words) => Math.min(Math.max(...words.map((word) => probe.measureText(word).width)) + 14, width * 0.32);
      const left = edgeOf(info.tokens), right = width - edgeOf(info.columns), height = top + most * step + 8;
      const g = C.prepare(target || large, width, height, density);
      if (target) {
        g.fillStyle = t.back;
        g.fillRect(0, 0, width, height);
      }
      // the shorter side is spread over the longer one's height
      const stepOf = (count) => (most * step) / count, y = (i, count) => top + (i + 0.5) * stepOf(count);
      plot = { lines: true, top, step: stepOf(chosen().length) };
      const held = (q, k) => (by === "query" ? q : k) === query;
      const least = [most > 128 ? 81 : most > 48 ? 57 : 26, 13]; // bytes: 10 %, 5 % or 1 %; of the chosen token 0.3 %
      g.strokeStyle = t.accent;
      for (const front of [false, true])
        for (let q = 0; q < rows; q++)
          for (let k = 0; k < columns; k++) {
            const byte = byteOf(q, k);
            if (byte < least[+front] || held(q, k) !== front) continue;
            g.globalAlpha = front ? Math.max(0.15, byte / 255) : (0.16 * byte) / 255;
            g.lineWidth = front ? 1 + (3 * byte) / 255 : 1;
            g.beginPath();
            g.moveTo(left, y(q, rows));
            g.lineTo(right, y(k, columns));
            g.stroke();
          }
      g.globalAlpha = 1;
      g.textBaseline = "middle";
      g.font = `11px ${t.font}`;
      g.fillStyle = t.quiet;
      g.textAlign = "right";
      g.fillText("reads", left - 6, 9);
      g.textAlign = "left";
      g.fillText("is read", right + 6, 9);
      const words = (list, which, align, x, room) => {
        const own = stepOf(list.length), skip = Math.max(1, Math.ceil(12 / own));
        g.textAlign = align;
        list.forEach((word, i) => {
          const mine = by === which && i === query, near = by === which && i !== query && Math.abs(i - query) * own < 12;
          if ((i % skip || near) && !mine) return;
          g.fillStyle = mine ? t.text : t.quiet;
          g.fillText(C.fit(g, word, room), x, y(i, list.length));
        });
      };
      words(info.tokens, "query", "right", left - 6, left - 12);
      words(info.columns, "key", "left", right + 6, width - right - 12);
      g.fillStyle = t.accent;
      g.fillRect(by === "query" ? left - 3 : right, y(query, chosen().length) - Math.max(4, step / 2 - 1), 3, Math.max(8, step - 2));
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

    /** [row, column] under the mouse; -1 where it is on the labels before the first. */
    function cellAt(event) {
      if (!plot || !shown) return null;
      const box = large.getBoundingClientRect();
      if (plot.lines) {
        const i = Math.floor((event.clientY - box.top - plot.top) / plot.step);
        return i < 0 || i >= chosen().length ? null : [i, i];
      }
      const k = Math.floor((event.clientX - box.left - plot.left) / plot.stepX);
      const q = Math.floor((event.clientY - box.top - plot.top) / plot.stepY);
      if (q >= shown.rows || k >= shown.columns || (q < 0 && k < 0)) return null;
      return [q, k];
    }

    let drawing = 0;
    function look(q, k) {
      query = Math.max(0, Math.min(chosen().length - 1, q));
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
      const other = Math.max(0, Math.min(others().length - 1, (key < 0 ? Math.min(query, others().length - 1) : key) + move));
      if (!move || along || as === "lines") look(query + move, as === "lines" ? -1 : key);
      else look(query, other);
    });

    // ------------------------------------------------------------------ one token

    const byteAt = (i) => (by === "query" ? byteOf(query, i) : byteOf(i, query));
    const future = (i) => info.causal && (by === "query" ? i > query : i < query);

    function fillStrip(strip, words) {
      strip.replaceChildren();
      words.forEach((word, i) => {
        const chip = C.make("button", "av-token");
        chip.type = "button";
        chip.dataset.index = i;
        chip.append(C.make("span", "", word), C.make("small", ""));
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
      const [own, list] = [chosen(), others()], other = by === "query" ? "key" : "query", rows = [];
      const lit = strips[info.crossed ? other : "query"].children;
      if (info.crossed) for (const chip of strips[by].children) paint(chip, null);
      list.forEach((word, i) => {
        const p = C.value(byteAt(i)), out = future(i);
        paint(lit[i], out ? null : byteAt(i));
        lit[i].classList.toggle("av-out", out);
        lit[i].lastChild.textContent = out ? "–" : p < 0.0005 ? "0" : C.percent(p);
        lit[i].title = out ? "comes later: out of this token's sight" : `${word}: ${(100 * p).toFixed(2)} %`;
        if (!out) rows.push([i, p]);
      });
      for (const strip of Object.values(strips))
        [...strip.children].forEach((chip, i) => {
          const now = i === query && (!info.crossed || strip === strips[by]);
          chip.classList.toggle("av-now", now);
          chip.setAttribute("aria-pressed", now);
        });
      rows.sort((a, b) => b[1] - a[1]);
      bars.replaceChildren();
      const reads = by === "query" ? "reads from" : "is read by";
      bars.append(C.make("p", "av-lead", `“${own[query]}” (${nameOf(query)}) ${reads}`));
      for (const [i, p] of rows.slice(0, 8)) bars.append(bar(list[i], p, rows[0][1], i));
      const at = key >= 0 && key < list.length ? key : rows[0][0];
      const [q, k] = by === "query" ? [query, at] : [at, query];
      readout.textContent = `“${info.tokens[q]}” (${q}) → “${info.columns[k]}” (${k}): ` +
        (info.causal && k > q ? "comes later, not seen" : `${(100 * C.value(byteOf(q, k))).toFixed(2)} %`) +
        (pinned ? " · held: click the map, or press Enter there, to let go" : "");
      drawPicture();
    }

    const nameOf = (i) => (info.grid ? (i < info.tokens.length - info.grid[0] * info.grid[1] ? "the whole image" : `patch ${i}`) : `token ${i}`);

    function paint(chip, byte) {
      chip.style.background = byte === null ? "" : C.colour(byte);
      chip.style.color = byte === null ? "" : C.ink(byte);
      if (byte === null) chip.lastChild.textContent = "";
    }

    // The image under its patches: the more one is read, the clearer; the chosen one is framed.
    function drawPicture() {
      if (!pixels || !info.grid) return;
      const [down, across] = info.grid, first = info.tokens.length - down * across, t = C.theme(view);
      const room = Math.min(picture.parentElement.clientWidth, 260), width = room, height = (room * down) / across;
      const g = C.prepare(picture, width, height), stepX = width / across, stepY = height / down;
      g.drawImage(pixels, 0, 0, width, height);
      let most = 1;
      for (let i = first; i < info.tokens.length; i++) most = Math.max(most, byteAt(i));
      for (let i = first; i < info.tokens.length; i++) {
        const at = i - first, x = (at % across) * stepX, y = Math.floor(at / across) * stepY;
        g.fillStyle = C.colour(byteAt(i));
        g.globalAlpha = 0.35 + (0.35 * byteAt(i)) / most;
        g.fillRect(x, y, stepX, stepY);
        g.globalAlpha = 1;
        if (i !== query) continue;
        g.strokeStyle = t.accent;
        g.lineWidth = 3;
        g.strokeRect(x + 1.5, y + 1.5, stepX - 3, stepY - 3);
      }
      const words = by === "query" ? "reads from" : "is read by";
      picture.previousElementSibling.textContent = query < first ? `The whole image ${words}` : `The framed patch ${words}`;
    }

    function patchAt(event) {
      const [down, across] = info.grid, box = picture.getBoundingClientRect();
      const column = Math.floor(((event.clientX - box.left) / box.width) * across), row = Math.floor(((event.clientY - box.top) / box.height) * down);
      return info.tokens.length - down * across + Math.max(0, Math.min(down - 1, row)) * across + Math.max(0, Math.min(across - 1, column));
    }

    picture.addEventListener("mousemove", (event) => { if (shown && info.grid && !pinned) look(patchAt(event), -1); });
    picture.addEventListener("click", (event) => {
      if (!shown || !info.grid) return;
      const i = patchAt(event);
      pinned = !(pinned && i === query);
      look(i, -1);
    });

    // A chip of the other strip asks the other question: who reads this?
    for (const [which, strip] of Object.entries(strips)) {
      const chipOf = (event) => (shown && event.target.closest ? event.target.closest(".av-token") : null);
      const over = (event) => {
        const chip = chipOf(event);
        if (!chip || pinned) return;
        if (!info.crossed || which === by) look(+chip.dataset.index, -1);
        else look(query, +chip.dataset.index);
      };
      strip.addEventListener("mouseover", over);
      strip.addEventListener("focusin", over);
      strip.addEventListener("click", (event) => {
        const chip = chipOf(event);
        if (!chip) return;
        const i = +chip.dataset.index;
        if (info.crossed && which !== by) {
          direct(which);
          pinned = false;
        }
        pinned = !(pinned && i === query);
        look(i, -1);
      });
    }

    // ------------------------------------------------------------------ choices

    for (const button of root.querySelectorAll("[data-pick]"))
      button.addEventListener("click", () => open(layer, head, button.dataset.pick));
    function direct(which) {
      if (info && info.crossed && which !== by) [query, key] = [Math.max(0, key), -1];
      by = which;
      key = -1;
      for (const button of root.querySelectorAll("[data-by]")) button.setAttribute("aria-pressed", button.dataset.by === by);
      if (info) query = Math.min(query, chosen().length - 1);
    }
    for (const button of root.querySelectorAll("[data-by]"))
      button.addEventListener("click", () => {
        direct(button.dataset.by);
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

    C.onChange(view, () => { drawGrid(); drawLarge(); drawPicture(); });
    watch("value", () => load(props.value));
    load(props.value);
  }

  window.VitrineAttention = { mount };
})();
