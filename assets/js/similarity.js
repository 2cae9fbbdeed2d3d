/* Sentences compared: cosines as a heat map, and a plane. The value: {texts, cosines, points, share}. */
(function () {
  "use strict";
  if (window.VitrineSimilarity) return;

  function mount(root, { props, watch }) {
    const C = window.VitrineCanvas, find = (name) => root.querySelector("." + name);
    const view = find("sv"), map = find("sv-map"), dots = find("sv-dots"), pairs = find("sv-pairs");
    let data = null, at = null, plot = null, places = [], low = 0, high = 1;

    function load(value) {
      data = value && value.texts ? value : null;
      at = null;
      view.dataset.state = data ? "ready" : "empty";
      if (!data) return;
      const n = data.texts.length, others = data.cosines.filter((_, i) => Math.floor(i / n) !== i % n);
      low = Math.min(0, ...others);
      high = 1;
      const ranked = [];
      for (let i = 0; i < n; i++) for (let j = 0; j < i; j++) ranked.push([data.cosines[i * n + j], j, i]);
      ranked.sort((a, b) => b[0] - a[0]);
      pairs.replaceChildren(C.make("h3", "", "Closest pairs"));
      for (const [cosine, i, j] of ranked.slice(0, 5)) {
        const line = C.make("p", "sv-pair");
        line.append(C.make("strong", "", cosine.toFixed(2)), C.make("span", "", data.texts[i]), C.make("span", "", data.texts[j]));
        pairs.append(line);
      }
      root.querySelectorAll(".sv-hint")[1].textContent = `Where the sentences differ most; this plane holds ${Math.round(100 * data.share)} % of the variance. The numbers are those of the heat map.`;
      requestAnimationFrame(draw);
    }
    const byte = (x) => Math.max(0, Math.min(255, Math.round((255 * (x - low)) / (high - low))));

    function draw() {
      if (!data) return;
      const room = map.parentElement.clientWidth, n = data.texts.length, t = C.theme(view);
      if (!room) return;
      const labels = Math.min(200, room * 0.42), cell = Math.max(10, Math.min(44, Math.floor((room - labels - 2) / n)));
      let g = C.prepare(map, labels + n * cell + 2, 20 + n * cell + 2);
      plot = { left: labels, top: 20, cell };
      g.font = `12px ${t.font}`;
      g.textBaseline = "middle";
      for (let i = 0; i < n; i++) {
        g.textAlign = "right";
        g.fillStyle = at && at[0] === i ? t.text : t.quiet;
        g.fillText(`${C.fit(g, data.texts[i], labels - 32)}  ${i + 1}`, labels - 6, 20 + (i + 0.5) * cell);
        g.textAlign = "center";
        g.fillStyle = at && at[1] === i ? t.text : t.quiet;
        g.fillText(i + 1, labels + (i + 0.5) * cell, 9);
        for (let j = 0; j < n; j++) {
          const value = byte(data.cosines[i * n + j]);
          g.fillStyle = C.colour(value);
          g.fillRect(labels + j * cell, 20 + i * cell, cell - 1, cell - 1);
          if (cell >= 30) {
            g.fillStyle = C.ink(value);
            g.fillText(data.cosines[i * n + j].toFixed(2), labels + (j + 0.5) * cell - 0.5, 20 + (i + 0.5) * cell);
          }
        }
      }
      if (at) {
        g.strokeStyle = t.accent;
        g.lineWidth = 2;
        g.strokeRect(labels + at[1] * cell, 20 + at[0] * cell, cell - 1, cell - 1);
      }
      find("sv-low").textContent = low.toFixed(2);
      find("sv-high").textContent = high.toFixed(2);
      const bar = C.prepare(find("sv-scale"), 120, 8);
      for (let i = 0; i < 120; i++) { bar.fillStyle = C.colour(Math.round((255 * i) / 119)); bar.fillRect(i, 0, 1.5, 8); }

      const width = Math.min(dots.parentElement.clientWidth - 2, 640), height = Math.min(width * 0.75, 420), pad = 24;
      g = C.prepare(dots, width, height);
      g.strokeStyle = t.line;
      g.strokeRect(0.5, 0.5, width - 1, height - 1);
      g.font = `12px ${t.font}`;
      g.textBaseline = "middle";
      g.textAlign = "left";
      places = data.points.map(([x, y]) => [width / 2 + x * (width / 2 - pad), height / 2 - y * (height / 2 - pad)]);
      const taken = places.map(([x, y]) => [x - 5, y - 5, 10, 10]);
      places.forEach(([x, y], i) => {
        const on = at && (at[0] === i || at[1] === i);
        g.fillStyle = t.accent;
        g.beginPath();
        g.arc(x, y, on ? 7 : 4.5, 0, 7);
        g.fill();
        const text = C.fit(g, `${i + 1}  ${data.texts[i]}`, width * 0.42), w = g.measureText(text).width;
        const left = x + 10 + w < width - 4 ? x + 10 : Math.max(4, x - 10 - w), box = [left, y - 8, w, 16];
        const free = !taken.some((b, k) => k !== i && box[0] < b[0] + b[2] && b[0] < box[0] + box[2] && box[1] < b[1] + b[3] && b[1] < box[1] + box[3]);
        if (free) taken.push(box);
        g.fillStyle = on ? t.text : t.quiet;
        g.fillText(free ? text : String(i + 1), free ? left : x + 8, free ? y : y - 9);
      });
      find("sv-say").textContent = at ? `${data.cosines[at[0] * n + at[1]].toFixed(3)} · “${data.texts[at[0]]}” and “${data.texts[at[1]]}”` : "";
      view.dataset.ready = n;
    }
    map.addEventListener("mousemove", (event) => {
      if (!plot || !data) return;
      const box = map.getBoundingClientRect(), j = Math.floor((event.clientX - box.left - plot.left) / plot.cell), i = Math.floor((event.clientY - box.top - plot.top) / plot.cell);
      const n = data.texts.length, next = i >= 0 && j >= 0 && i < n && j < n ? [i, j] : null;
      if (JSON.stringify(next) !== JSON.stringify(at)) { at = next; draw(); }
    });
    map.addEventListener("keydown", (event) => {
      const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
      if (!move || !data) return;
      event.preventDefault();
      const n = data.texts.length;
      at = at ? [(at[0] + move[0] + n) % n, (at[1] + move[1] + n) % n] : [0, 0];
      draw();
    });
    dots.addEventListener("keydown", (event) => {
      const move = { ArrowUp: -1, ArrowDown: 1, ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!move || !data) return;
      event.preventDefault();
      const n = data.texts.length, i = at ? (at[1] + move + n) % n : 0;
      at = [i, i];
      draw();
    });
    dots.addEventListener("mousemove", (event) => {
      if (!data) return;
      const box = dots.getBoundingClientRect(), i = places.findIndex(([x, y]) => Math.hypot(x - event.clientX + box.left, y - event.clientY + box.top) < 12);
      const next = i < 0 ? null : [i, i];
      if (JSON.stringify(next) !== JSON.stringify(at)) { at = next; draw(); }
    });
    C.onChange(view, draw);
    watch("value", () => load(props.value));
    load(props.value);
  }
  window.VitrineSimilarity = { mount };
})();
