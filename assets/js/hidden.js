/* Hidden states: lengths by layer and token, and the plane of the tokens, layer by layer. Data: app/api/attention.py. */
(function () {
  "use strict";
  if (window.VitrineHidden) return;

  function mount(root, { props, watch }) {
    const C = window.VitrineCanvas;
    const find = (name) => root.querySelector("." + name);
    const view = find("hv"), map = find("hv-map"), dots = find("hv-dots"), slider = find("hv-layer");
    let info = null, norms = null, points = null, share = null, low = 0, high = 1, image = null, plot = null, places = [];
    let layer = 0, token = -1, turn = 0;

    async function load(value) {
      const mine = ++turn;
      info = value && value.id ? value : null;
      norms = null;
      token = -1;
      view.dataset.state = info ? "loading" : "empty";
      if (!info) return;
      try {
        const answer = await C.bytes(`/attention/${info.id}/hidden`);
        if (mine !== turn) return;
        const [layers, tokens] = answer.dims, all = new Float32Array(answer.data), n = layers * tokens;
        norms = all.subarray(0, n);
        points = all.subarray(n, 3 * n);
        share = all.subarray(3 * n);
        const positive = norms.filter((x) => x > 0);
        low = Math.log10(positive.reduce((a, b) => Math.min(a, b), Infinity));
        high = Math.log10(positive.reduce((a, b) => Math.max(a, b), 0));
        const bytes = Uint8Array.from(norms, (x) => Math.max(0, Math.min(255, Math.round((255 * (Math.log10(x) - low)) / (high - low || 1)))));
        image = C.picture(bytes, 0, layers, tokens);
        slider.max = layers - 1;
        layer = layers - 1;
        slider.value = layer;
        view.dataset.state = "ready";
        draw();
      } catch (error) {
        if (mine !== turn) return;
        view.dataset.state = "error";
        find("hv-error").textContent = `${error.message} Press Run again to see this text.`;
      }
    }

    const layerName = (l) => (l ? `after layer ${l - 1}` : "embedding");
    const number = (x) => (x >= 1000 ? x.toFixed(0) : x >= 10 ? x.toFixed(1) : x.toFixed(2));

    function drawMap() {
      const room = map.parentElement.clientWidth;
      if (!room) return;
      const layers = info.layers + 1, n = info.tokens.length, t = C.theme(view), left = 32, top = 6;
      const width = room - 2, row = Math.max(7, Math.min(24, Math.floor(280 / layers))), body = Math.min(width - left, n * 40);
      const g = C.prepare(map, width, top + layers * row + 64);
      plot = { left, top, row, step: body / n };
      g.drawImage(image, left, top, body, layers * row);
      g.font = `11px ${t.font}`;
      g.fillStyle = t.quiet;
      g.textBaseline = "middle";
      g.textAlign = "right";
      const every = Math.ceil(14 / row);
      for (let l = 0; l < layers; l += every) g.fillText(l ? l - 1 : "emb", left - 6, top + (l + 0.5) * row);
      const skip = Math.max(1, Math.ceil(13 / plot.step));
      for (let i = 0; i < n; i++) {
        if (token >= 0 && i !== token && Math.abs(i - token) * plot.step < 13) continue;
        if (i % skip && i !== token) continue;
        g.save();
        g.translate(left + (i + 0.5) * plot.step, top + layers * row + 5);
        g.rotate(-Math.PI / 2);
        g.fillStyle = i === token ? t.text : t.quiet;
        g.fillText(C.fit(g, info.tokens[i], 54), 0, 0);
        g.restore();
      }
      g.strokeStyle = t.accent;
      g.lineWidth = 1.5;
      g.strokeRect(left - 0.5, top + layer * row, body + 1, row);
      if (token >= 0) g.strokeRect(left + token * plot.step, top - 0.5, plot.step, layers * row + 1);
      find("hv-low").textContent = number(10 ** low);
      find("hv-high").textContent = number(10 ** high);
      const bar = C.prepare(find("hv-scale"), 120, 8);
      for (let i = 0; i < 120; i++) {
        bar.fillStyle = C.colour(Math.round((255 * i) / 119));
        bar.fillRect(i, 0, 1.5, 8);
      }
    }

    function drawDots() {
      const room = dots.parentElement.clientWidth;
      if (!room) return;
      const n = info.tokens.length, t = C.theme(view), width = Math.min(room - 2, 560), height = Math.min(width, 360);
      const g = C.prepare(dots, width, height), pad = 26;
      g.strokeStyle = t.line;
      g.strokeRect(0.5, 0.5, width - 1, height - 1);
      const at = (i) => {
        const p = 2 * (layer * n + i);
        return [width / 2 + points[p] * (width / 2 - pad), height / 2 - points[p + 1] * (height / 2 - pad)];
      };
      places = Array.from({ length: n }, (_, i) => at(i));
      const taken = [];
      g.font = `11px ${t.font}`;
      g.textBaseline = "middle";
      places.forEach(([x, y], i) => {
        g.fillStyle = C.colour(n > 1 ? Math.round((235 * i) / (n - 1)) : 0);
        g.beginPath();
        g.arc(x, y, i === token ? 6 : 4, 0, 7);
        g.fill();
        g.lineWidth = i === token ? 2 : 0.75;
        g.strokeStyle = i === token ? t.accent : t.quiet;
        g.stroke();
      });
      // Labels where there is room: the chosen token first, then in reading order.
      const order = token >= 0 ? [token, ...places.keys()] : [...places.keys()];
      for (const i of order) {
        const [x, y] = places[i], text = C.fit(g, info.tokens[i], 90), w = g.measureText(text).width;
        const right = x + 9 + w < width - 3, box = [right ? x + 8 : x - 8 - w, y - 7, w, 14];
        if (taken.some((b) => box[0] < b[0] + b[2] && b[0] < box[0] + box[2] && box[1] < b[1] + b[3] && b[1] < box[1] + box[3])) continue;
        taken.push(box);
        g.textAlign = "left";
        g.fillStyle = i === token ? t.text : t.quiet;
        g.fillText(text, box[0], y);
      }
      find("hv-name").textContent = `${layerName(layer)} · this plane holds ${(100 * share[layer]).toFixed(0)} % of the variance`;
      view.dataset.layer = layer;
    }

    function draw() {
      if (!norms) return;
      drawMap();
      drawDots();
      const n = info.tokens.length;
      find("hv-say").textContent = token < 0 ? "" : `${layerName(layer)} · “${info.tokens[token]}” (token ${token}) · norm ${number(norms[layer * n + token])}`;
    }

    let due = 0;
    const later = () => { if (!due) due = requestAnimationFrame(() => { due = 0; draw(); }); };

    slider.addEventListener("input", () => { layer = +slider.value; later(); });
    map.addEventListener("mousemove", (event) => {
      if (!plot || !norms) return;
      const box = map.getBoundingClientRect(), i = Math.floor((event.clientX - box.left - plot.left) / plot.step);
      const l = Math.floor((event.clientY - box.top - plot.top) / plot.row);
      if (i < 0 || i >= info.tokens.length || l < 0 || l > info.layers) return;
      token = i;
      const n = info.tokens.length;
      later();
      requestAnimationFrame(() => {
        find("hv-say").textContent = `${layerName(l)} · “${info.tokens[i]}” (token ${i}) · norm ${number(norms[l * n + i])}`;
      });
    });
    map.addEventListener("click", (event) => {
      if (!plot || !norms) return;
      const l = Math.floor((event.clientY - map.getBoundingClientRect().top - plot.top) / plot.row);
      if (l < 0 || l > info.layers) return;
      layer = l;
      slider.value = l;
      later();
    });
    dots.addEventListener("mousemove", (event) => {
      if (!norms) return;
      const box = dots.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
      let best = -1, near = 14 * 14;
      places.forEach(([px, py], i) => {
        const d = (px - x) ** 2 + (py - y) ** 2;
        if (d < near) [best, near] = [i, d];
      });
      if (best !== token) { token = best; later(); }
    });

    function byKey(event) {
      const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
      if (!move || !norms) return;
      event.preventDefault();
      const clamp = (x, last) => Math.max(0, Math.min(last, x));
      layer = clamp(layer + move[0], info.layers);
      token = clamp(token + move[1], info.tokens.length - 1);
      slider.value = layer;
      later();
    }
    map.addEventListener("keydown", byKey);
    dots.addEventListener("keydown", byKey);

    C.onChange(view, draw);
    watch("value", () => load(props.value));
    load(props.value);
  }

  window.VitrineHidden = { mount };
})();
