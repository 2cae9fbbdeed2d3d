/* What the lens views share: the viridis scale, sharp canvases, theme colours, requests. No template ever sees a token. */
(function () {
  "use strict";
  if (window.VitrineCanvas) return;

  // viridis (Smith, van der Walt 2015; CC0), every 16th colour of 256, interpolated in RGB.
  const STOPS = [
    [68, 1, 84], [72, 26, 108], [71, 47, 125], [65, 68, 135], [57, 86, 140], [49, 104, 142], [42, 120, 142], [35, 136, 142],
    [31, 152, 139], [34, 168, 132], [53, 183, 121], [84, 197, 104], [122, 209, 81], [165, 219, 54], [210, 226, 27], [253, 231, 37],
  ];
  const SCALE = new Uint8ClampedArray(256 * 3);
  for (let i = 0; i < 256; i++) {
    const at = (i / 255) * (STOPS.length - 1), low = Math.min(Math.floor(at), STOPS.length - 2), part = at - low;
    for (let c = 0; c < 3; c++) SCALE[i * 3 + c] = STOPS[low][c] + (STOPS[low + 1][c] - STOPS[low][c]) * part;
  }

  /** css colour of a byte 0..255. */
  const colour = (byte) => `rgb(${SCALE[byte * 3]},${SCALE[byte * 3 + 1]},${SCALE[byte * 3 + 2]})`;
  /** Black or white, whichever has the greater contrast on that colour (WCAG 2.2: relative luminance); 4.5 at the least. */
  const ink = (byte) => {
    const [r, g, b] = [0, 1, 2].map((c) => SCALE[byte * 3 + c] / 255).map((x) => (x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? "#000" : "#fff";
  };
  /** The probability behind a byte: the server sends round(255 sqrt p). */
  const value = (byte) => (byte / 255) ** 2;
  const percent = (p) => (p >= 0.0995 ? (100 * p).toFixed(0) : p >= 0.0005 ? (100 * p).toFixed(1) : p > 0 ? "< 0.1" : "0") + " %";

  /** rows x columns bytes, from `at` on, as a canvas of one pixel a cell. `hide(r, c)` leaves a cell clear. */
  function picture(bytes, at, rows, columns, hide) {
    const canvas = document.createElement("canvas");
    canvas.width = columns;
    canvas.height = rows;
    const image = new ImageData(columns, rows);
    for (let r = 0, i = 0; r < rows; r++)
      for (let c = 0; c < columns; c++, i++) {
        if (hide && hide(r, c)) continue;
        const byte = bytes[at + i] * 3;
        image.data[i * 4] = SCALE[byte];
        image.data[i * 4 + 1] = SCALE[byte + 1];
        image.data[i * 4 + 2] = SCALE[byte + 2];
        image.data[i * 4 + 3] = 255;
      }
    canvas.getContext("2d").putImageData(image, 0, 0);
    return canvas;
  }

  /** Size a canvas in css pixels, sharp on any screen; its cleared context. */
  function prepare(canvas, width, height, density) {
    const ratio = density || window.devicePixelRatio || 1;
    const w = Math.round(width * ratio), h = Math.round(height * ratio);
    if (canvas.width !== w || canvas.height !== h) { canvas.width = w; canvas.height = h; }
    canvas.style.width = width + "px";
    canvas.style.height = height + "px";
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    context.imageSmoothingEnabled = false;
    return context;
  }

  /** The page's colours and font, for drawing. */
  function theme(element) {
    const style = getComputedStyle(element);
    const get = (name, other) => style.getPropertyValue(name).trim() || other;
    const [r, g, b] = (style.color.match(/[\d.]+/g) || [80, 80, 80]).map(Number);
    return {
      text: style.color,
      quiet: `rgba(${r},${g},${b},0.72)`,
      line: get("--border-color-primary", "#ccc"),
      accent: get("--color-accent", "#2563eb"),
      back: get("--body-background-fill", "#fff"),
      font: style.fontFamily || "system-ui, sans-serif",
    };
  }

  const SIGNS = new Intl.Segmenter(undefined, { granularity: "grapheme" });
  /** The text, shortened with an ellipsis to a width. */
  function fit(context, text, width) {
    if (context.measureText(text).width <= width) return text;
    const signs = [...SIGNS.segment(text)].map((part) => part.segment);
    while (signs.length > 1 && context.measureText(signs.join("") + "…").width > width) signs.pop();
    return signs.join("") + "…";
  }

  /** Bytes of one of our routes; an Error with the server's sentence where it refuses. */
  async function bytes(path) {
    const base = location.href.split(/[?#]/)[0].replace(/[^/]*$/, "");
    const answer = await fetch(new URL(path.replace(/^\//, ""), base));
    if (!answer.ok) {
      let said = "";
      try { said = (await answer.json()).error; } catch { /* not ours */ }
      throw new Error(said || `The server answered ${answer.status}.`);
    }
    return { data: await answer.arrayBuffer(), dims: (answer.headers.get("x-dims") || "").split(",").map(Number) };
  }

  /** Call back, once a frame at most, when the element's width or the page's theme changes. */
  function onChange(element, redraw) {
    let width = 0, due = 0;
    const later = () => { if (!due) due = requestAnimationFrame(() => { due = 0; if (element.isConnected) redraw(); }); };
    new ResizeObserver(() => {
      const now = element.clientWidth;
      if (now && now !== width) { width = now; later(); }
    }).observe(element);
    new MutationObserver(later).observe(document.body, { attributes: true, attributeFilter: ["class"] });
  }

  /** One stop of the Tab key for a row of buttons, arrow keys between them, in the text's own direction. */
  function rove(strip) {
    [...strip.children].forEach((child, i) => { child.tabIndex = i ? -1 : 0; });
    if (strip.dataset.roves) return;
    strip.dataset.roves = "yes";
    strip.addEventListener("keydown", (event) => {
      const step = getComputedStyle(strip).direction === "rtl" ? -1 : 1, all = strip.children, last = all.length - 1;
      const here = [...all].indexOf(document.activeElement);
      const to = { Home: 0, End: last, ArrowLeft: here - step, ArrowRight: here + step }[event.key];
      if (here < 0 || to === undefined) return;
      event.preventDefault();
      all[Math.max(0, Math.min(last, to))].focus();
    });
    strip.addEventListener("focusin", (event) => {
      for (const child of strip.children) child.tabIndex = child === event.target ? 0 : -1;
    });
  }

  /** Draw a part of the page anew and give the keyboard back its place: the element of the same data-key. */
  function keepFocus(box, draw) {
    const held = box.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
    draw();
    if (held === undefined || box.contains(document.activeElement)) return;
    [...box.querySelectorAll("[data-key]")].find((element) => element.dataset.key === held)?.focus();
  }

  /** An element with a class and a text. */
  function make(tag, name, text) {
    const element = document.createElement(tag);
    if (name) element.className = name;
    if (text !== undefined) element.textContent = text;
    return element;
  }

  window.VitrineCanvas = { colour, ink, value, percent, picture, prepare, theme, fit, bytes, onChange, rove, keepFocus, make };
})();
