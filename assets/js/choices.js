/* A text's tokens coloured by probability; a click on one lists the alternatives, a click on one of those takes it. */
(function () {
  "use strict";
  if (window.VitrineChoices) return;

  function mount(root, { props, watch, trigger }) {
    const C = window.VitrineCanvas, find = (name) => root.querySelector("." + name);
    const view = find("cv"), strip = find("cv-strip"), others = find("cv-others"), scale = find("cv-scale");
    let data = null, at = -1;

    const byte = (p) => Math.round(255 * Math.sqrt(p));

    function load(value) {
      data = value && value.tokens ? value : null;
      at = -1;
      view.dataset.state = data ? "ready" : "empty";
      others.replaceChildren();
      if (!data) return;
      strip.replaceChildren(...data.tokens.map(token));
      C.rove(strip);
      const g = C.prepare(scale, 96, 12);
      for (let x = 0; x < 96; x++) { g.fillStyle = C.colour(Math.round((255 * x) / 95)); g.fillRect(x, 0, 1, 12); }
      const hard = data.tokens.map((t, i) => [t.p ?? 1, i]).filter(([, i]) => i >= data.prompt);
      if (hard.length) pick(hard.reduce((a, b) => (b[0] < a[0] ? b : a))[1], false);
    }

    function token(item, index) {
      const button = C.make("button", "cv-token" + (index < data.prompt ? " cv-given" : ""), item.text);
      button.type = "button";
      if (item.p !== null) {
        button.style.background = C.colour(byte(item.p));
        button.style.color = C.ink(byte(item.p));
        button.title = `${C.percent(item.p)}, ${item.rank === 0 ? "the likeliest" : `${item.rank} likelier`}`;
      }
      button.setAttribute("aria-label", item.p === null ? item.text : `${item.text}, ${C.percent(item.p)}`);
      button.addEventListener("click", () => pick(index, true));
      return button;
    }

    function pick(index, focus) {
      at = index;
      [...strip.children].forEach((child, i) => child.setAttribute("aria-pressed", String(i === at)));
      const item = data.tokens[index];
      const title = item.p === null
        ? `“${item.text}” is the first token: nothing came before it`
        : `Where “${item.text}” (${C.percent(item.p)}) stands, the model expected`;
      const list = C.make("ol", "rs-bars");
      for (const [id, text, p] of item.others) {
        const row = C.make("li", "rs-bar"), button = C.make("button", "rs-pick", text), track = C.make("span", "rs-track");
        const fill = C.make("span", "rs-fill");
        fill.style.width = 100 * p + "%";
        track.append(fill);
        button.type = "button";
        button.title = "Take this one and go on from there";
        button.addEventListener("click", () => trigger("take", { index, id }));
        row.append(button, track, C.make("span", "rs-number", C.percent(p)));
        list.append(row);
      }
      others.replaceChildren(C.make("h3", "", title), list);
      if (focus) strip.children[at].focus();
    }

    watch("value", () => load(props.value));
    load(props.value);
  }

  window.VitrineChoices = { mount };
})();
