"use strict";
(() => {
  const $ = (selector, from = document) => from.querySelector(selector);
  const $$ = (selector, from = document) => [...from.querySelectorAll(selector)];
  const json = (id) => { const found = document.getElementById(id); return found ? JSON.parse(found.textContent) : null; };

  // Words for numbers: as render.py writes them.
  const number = (n) => n >= 100 || Number.isInteger(n) ? Math.round(n).toLocaleString("en-US") : String(+n.toPrecision(3));
  const span = (ms) => { const s = ms / 1000; return s < 60 ? `${Math.floor(s)} s` : s < 3600 ? `${Math.floor(s / 60)} min` : s < 172800 ? `${Math.floor(s / 3600)} h` : `${Math.floor(s / 86400)} d`; };
  const since = (ms) => Math.abs(ms) < 1000 ? "now" : ms > 0 ? `${span(ms)} ago` : `in ${span(-ms)}`;
  const took = (ms) => ms == null ? "–" : ms < 1000 ? `${ms < 100 ? +ms.toPrecision(3) : Math.round(ms)} ms` : ms < 60000 ? `${+(ms / 1000).toPrecision(3)} s` : ms < 3600000 ? `${+(ms / 60000).toPrecision(3)} min` : span(ms);
  const percent = (p) => p === 0 ? "0 %" : p < .001 ? "under 0.1 %" : `${+(p * 100).toPrecision(3)} %`;
  const clock = (s, seconds) => new Date(s * 1000).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit", ...(seconds ? { second: "2-digit" } : {}) });
  const AS = { took, percent, number };

  const tell = (text) => {
    const said = document.createElement("p");
    said.textContent = text;
    $("#tell").append(said);
    setTimeout(() => said.remove(), Math.min(3000 + text.length * 40, 10000));
  };

  const copy = async (text) => {
    let done = true;
    // A page that came over plain HTTP from another machine has no clipboard but what is selected.
    try { await navigator.clipboard.writeText(text); } catch {
      const before = document.activeElement, area = document.createElement("textarea");
      area.value = text; area.className = "hidden";
      document.body.append(area);
      area.select();
      done = document.execCommand("copy");
      area.remove();
      before?.focus({ preventScroll: true });
    }
    tell(done ? "Copied" : "The browser does not let a page copy here");
  };

  // ── what is live ────────────────────────────────────────────────────────
  const first = json("first"), born = Date.now();
  // This machine's clock may be another than the hub's. What was shortest on its way tells best by how much; an
  // estimate that is higher counts at once, others slowly, since either clock may be set.
  let skew = first ? first.now - Date.now() : 0;
  const set = (now) => { const seen = now - Date.now(); skew = seen > skew ? seen : skew + (seen - skew) * .02; };
  let mark = first && first.mark, stale = false, lines = first && first.lines, behind = false, next = 0, paused = false, busy = false, last = 0, stream = null, listened = document.hidden, leaving = false, drawing = null;
  const light = (state, word) => { const live = $("#live"); live.dataset.state = state; live.lastElementChild.textContent = word; };

  const show = (readings) => {
    set(readings.now);
    for (const place of $$("[data-reading]")) {
      const value = readings[place.dataset.reading];
      const text = AS[place.dataset.as || "number"](value);
      if (place.textContent !== text) place.textContent = text;
      if ("hideZero" in place.dataset) place.hidden = !value;
    }
    for (const tile of $$("[data-bad]")) tile.classList.toggle("bad", readings[tile.dataset.bad] > 0);
    if (readings.mark !== mark) { mark = readings.mark; stale = true; }
    if (readings.lines !== lines) { lines = readings.lines; behind = true; }
    if (readings.point) charts.add(readings.point);
    refresh();
  };

  // A list is drawn anew at most every other second, and never under somebody's hands.
  const held = (part) => paused && part.id === "list" || document.querySelector("dialog[open]") || $("#edit:not([hidden]), #commands:not([hidden]), .chips [open]", part)
    || part.contains(document.activeElement) && document.activeElement.matches("input, textarea, select")
    || $("input:checked", part) || String(getSelection()).length > 0 && part.contains(getSelection().anchorNode);
  // Each request has the element that it fills as its source: those of one source wait for each other.
  const refresh = async () => { await follow(); await redraw(); };
  // Logs grow line by line: what is open and grew is read again, once a second and a tenth of the time at most.
  const follow = async () => {
    if (!behind || busy || leaving || document.hidden || Date.now() < next) return;
    const began = Date.now();
    busy = true; behind = false;
    for (const log of $$("[data-tail]:not([hidden])")) {
      if (leaving) break;
      if (!document.contains(log)) continue;
      if (held(log)) { behind = true; continue; }
      try { await htmx.ajax("GET", log.dataset.tail, { source: log, target: log, swap: "into" in log.dataset ? "innerHTML" : "outerHTML" }); } catch { behind = true; }
    }
    next = Date.now() + Math.max(1000, 10 * (Date.now() - began));
    busy = false;
  };
  const redraw = async () => {
    if (!stale || busy || leaving || document.hidden || Date.now() - last < 2000) return;
    busy = true; stale = false; last = Date.now();
    for (const part of $$("[data-live]")) {
      if (leaving) break;
      if (!part.dataset.live || !document.contains(part)) continue;
      if (held(part)) { stale = true; continue; }
      const focused = part.contains(document.activeElement) && document.activeElement.closest("[data-id]");
      const pane = part.matches(".detail");
      const tab = pane && $("[aria-selected=true]", part).id;
      drawing = part;
      try { await htmx.ajax("GET", part.dataset.live, { source: part, target: part, swap: "outerHTML" }); } catch { stale = true; }
      drawing = null;
      if (focused) $(`#list [data-id="${focused.dataset.id}"] a`)?.focus({ preventScroll: true });
      if (pane && tab !== "tab-event" && $(`#${tab}`)) turn($(`#${tab}`), false);
    }
    busy = false;
    choose();
  };

  const listen = () => {
    if (stream || leaving || document.hidden) return;
    stream = new EventSource("/live");
    stream.onopen = () => { if (listened) charts.catchUp(); listened = true; light("live", paused ? "live, list paused" : "live"); };
    stream.onmessage = (event) => show(JSON.parse(event.data));
    stream.onerror = () => { light("lost", "connection lost"); if (stream.readyState === 2) { stream = null; knock(); } };
  };
  // Who signs out is led to the door by that answer alone: neither a stream that ends with the session nor a list
  // that is refused without it must race it.
  const door = () => leaving || location.reload();
  document.addEventListener("htmx:beforeRequest", ({ detail }) => { if (detail.requestConfig.path === "/logout") { leaving = true; stream?.close(); stream = null; } });
  document.addEventListener("htmx:afterRequest", ({ detail }) => { if (detail.requestConfig.path === "/logout" && !detail.successful) { leaving = false; listen(); } });
  // Refused for good: signed out, perhaps, and then the page itself leads to the door.
  const knock = async () => {
    try { if ((await fetch(location.href, { redirect: "manual", headers: { Accept: "text/html" } })).type === "opaqueredirect") return door(); } catch { /* not there yet */ }
    setTimeout(listen, 5000);
  };
  // A hidden tab holds no connection: browsers have six of them for all tabs together.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) { stream?.close(); stream = null; light("", "sleeping"); } else listen();
  });
  const day = (at) => at.toLocaleDateString("en-GB", { day: "numeric", month: "short" });
  const tick = () => {
    for (const time of $$("time")) {
      if ("clock" in time.dataset) {
        if (time.dataset.clock) continue;
        // The clock of whoever looks, as in the charts; of another day, with the day.
        const at = new Date(time.dateTime), other = day(at) === day(new Date()) ? "" : `${day(at)} `;
        time.textContent = other + clock(at / 1000, true);
        time.dataset.clock = "local";
        continue;
      }
      const passed = Date.now() + skew - Date.parse(time.dateTime), text = "lasting" in time.dataset ? span(Math.max(passed, 0)) : since(passed);
      if (time.textContent !== text) time.textContent = text;
      // What was to come has come: there is another next.
      if ("due" in time.dataset && passed > 1000) { delete time.dataset.due; stale = true; }
    }
  };
  setInterval(() => {
    tick();
    // What is said of the last minutes changes also while nothing happens.
    if (Date.now() - Math.max(last, born) > 60000) stale = true;
    refresh();
  }, 1000);

  // ── charts ──────────────────────────────────────────────────────────────
  const charts = (() => {
    let series = json("series");
    if (!series) return { add() {}, catchUp() {} };
    const drawn = [], HOLE = 25, LEAST = 60; // seconds, of points that come every ten
    let due = 0; // points that come at once are drawn at once
    const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    const columns = (...which) => [0, ...which].map((n) => series.map((row) => row[n]));
    // Of a single point uPlot would make a day.
    const range = () => { const end = series.at(-1)?.[0] ?? (Date.now() + skew) / 1000; return [Math.min(series[0]?.[0] ?? end, end - LEAST), end]; };
    const draw = () => {
      for (const one of drawn.splice(0)) one.plot.destroy();
      const axis = { stroke: css("--quiet"), grid: { stroke: css("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif" };
      const line = (label, colour, value) => ({ label, stroke: css(colour), width: 1.5, points: { show: () => series.length < 3, size: 5 }, value: (_, v) => v == null ? "–" : value(v) });
      const make = (id, which, lines, values, size) => {
        const place = document.getElementById(id);
        const plot = new uPlot({
          width: place.clientWidth, height: place.clientHeight - 24, padding: [8, 28, 0, 0],
          cursor: { y: false, drag: { x: false, y: false }, points: { size: 6 } },
          scales: { x: { range }, y: { range: (_, low, high) => [0, Math.max(high * 1.1, 1)] } },
          axes: [{ ...axis, size: 26, grid: { show: false }, values: (_, at) => at.map((s) => clock(s, at[at.length - 1] - at[0] < 240)), space: 70 }, { ...axis, size, values }],
          series: [{ label: "at", value: (_, s) => s == null ? "–" : clock(s, true) }, ...lines],
        }, columns(...which), place);
        drawn.push({ plot, which, place });
      };
      make("calls", [1, 2], [line("ok", "--ok", number), line("failed", "--bad", number)], (_, at) => at.map(number), 44);
      make("durations", [3, 4], [line("p50", "--accent", took), line("p95", "--warn", took)], (_, at) => at.map(took), 60);
    };
    draw();
    const again = () => { for (const { plot, place } of drawn) plot.setSize({ width: place.clientWidth, height: place.clientHeight - 24 }); };
    addEventListener("resize", again);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
    const put = (point) => {
      const [before] = series.at(-1) ?? [];
      if (before >= point[0]) return;
      // No line is drawn over what is not known.
      if (point[0] - before > HOLE) series.push([before + 1, null, null, null, null]);
      series.push(point);
      series = series.slice(-360);
    };
    return {
      // What happened while nobody listened; of a hub that has begun anew, after what is known of the one before.
      async catchUp() {
        try {
          const known = await (await fetch("/overview/series")).json();
          series = series.filter(([at]) => !known.length || at < known[0][0]);
          for (const point of known) this.add(point);
        } catch { /* the hole stays open */ }
      },
      add(point) {
        put(point);
        due ||= requestAnimationFrame(() => { due = 0; for (const { plot, which } of drawn) plot.setData(columns(...which)); });
      },
    };
  })();

  // ── one delivery beside the list ────────────────────────────────────────
  const split = $("#split"), pane = $("#pane");
  const choose = () => {
    const id = $(".detail", pane || document)?.dataset.id;
    for (const row of $$("#list tr[data-id]")) row.classList.toggle("on", row.dataset.id === id);
    for (const dot of $$("#list circle.on")) dot.classList.remove("on");
    if (id) $(`#list circle[data-id="${id}"]`)?.classList.add("on");
  };
  const query = () => {
    const found = { q: $("#q")?.value.trim(), before: $("#list")?.dataset.before };
    const text = new URLSearchParams(Object.entries(found).filter(([, value]) => value)).toString();
    return text && `?${text}`;
  };
  const open = async (id, push = true) => {
    await htmx.ajax("GET", `/deliveries/${id}/pane`, { source: pane, target: pane, swap: "innerHTML" });
    if (!$(".detail", pane)) return;
    split.classList.add("open");
    if (push) history.pushState({ id }, "", `/deliveries/${id}${query()}`);
    choose();
    if (matchMedia("(max-width: 1000px)").matches) scrollTo(0, 0);
    pane.focus({ preventScroll: true });
  };
  const close = (push = true) => {
    if (!split?.classList.contains("open")) return;
    const id = $(".detail", pane)?.dataset.id;
    split.classList.remove("open");
    pane.replaceChildren();
    if (push) history.pushState({}, "", `/deliveries${query()}`);
    choose();
    $(`#list tr[data-id="${id}"] a`)?.focus({ preventScroll: true });
  };
  addEventListener("popstate", () => {
    if (!split) return;
    const id = location.pathname.split("/")[2];
    const [there, here] = [location.search, query()].map((text) => new URLSearchParams(text));
    if (["q", "before"].some((name) => there.get(name) !== here.get(name))) location.reload();
    else if (id) open(id, false); else close(false);
  });

  const rows = () => $$("main .rows tbody tr, main .attention li");
  let at = -1;
  const step = (by) => {
    const all = rows();
    if (!all.length) return;
    at = Math.min(Math.max((all.findIndex((row) => row.matches(".at")) + (by > 0 || all.some((row) => row.matches(".at")) ? by : 0)), 0), all.length - 1);
    all.forEach((row, n) => row.classList.toggle("at", n === at));
    const link = $("a", all[at]);
    link?.focus({ preventScroll: true });
    all[at].scrollIntoView({ block: "nearest" });
    if (split?.classList.contains("open") && all[at].dataset.id && !matchMedia("(max-width: 1000px)").matches) open(all[at].dataset.id).then(() => link?.focus({ preventScroll: true }));
  };

  const pause = () => {
    if (!$("#pause")) return;
    paused = !paused;
    if (!paused) stale = true;
    const button = $("#pause");
    button.setAttribute("aria-pressed", paused);
    $("span", button).textContent = paused ? "Paused" : "Pause";
    light("live", paused ? "live, list paused" : "live");
    refresh();
  };

  // ── many at once ────────────────────────────────────────────────────────
  const bulk = $("#bulk");
  const cause = ({ dataset: { function: name, fingerprint } }) => name === undefined ? {} : { function: name, fingerprint };
  let order = {}, act = "redrive", running = null;
  const ask = (button) => {
    act = button.dataset.bulk;
    const chosen = "selected" in button.dataset ? $$("input:checked", button.closest("form")) : [];
    const searched = JSON.parse(button.closest("[data-chosen]")?.dataset.chosen ?? "{}");
    // One order for all of them: they share its rate.
    order = { ...searched, ...(chosen.length ? { causes: chosen.map(cause) } : cause(button)) };
    if (!Object.keys(order).length) order = { all: true };
    const total = (chosen.length ? chosen : [button]).reduce((sum, { dataset }) => sum + Number(dataset.count), 0);
    const noun = total === 1 ? "1 dead letter" : `${number(total)} dead letters`;
    $("#bulk-title").textContent = act === "redrive" ? `Redrive ${noun}?` : `Discard ${noun}?`;
    $("#bulk-what").textContent = act === "redrive" ? "They are queued again, the oldest first, with all their attempts." : "They are removed for good, and counted as discarded.";
    $("#bulk-go").textContent = act === "redrive" ? "Redrive" : "Discard";
    for (const part of $$("[data-only]", bulk)) part.hidden = part.dataset.only !== act;
    $("#bulk-progress").hidden = true; $("#bulk-told").textContent = ""; $("#bulk-stop").textContent = "Close";
    $("#bulk-go").hidden = $("#bulk-dry").hidden = false;
    bulk.showModal();
    (act === "discard" ? $("#bulk-reason") : $("#bulk-go")).focus();
  };
  const work = async (dry) => {
    const told = $("#bulk-told"), bar = $("#bulk-progress"), rate = $("#bulk-rate");
    if (!rate.reportValidity()) return;
    if (act === "discard" && !dry && !$("#bulk-reason").value.trim()) { told.textContent = "Say why: it is what the log keeps of them."; $("#bulk-reason").focus(); return; }
    running = new AbortController();
    $("#bulk-go").hidden = $("#bulk-dry").hidden = true; $("#bulk-stop").textContent = "Stop"; $("#bulk-while").hidden = dry;
    const done = act === "redrive" ? "queued again" : "discarded";
    try {
      const body = { ...order, dry_run: dry };
      if (act === "redrive" && rate.value) body.rate = rate.value;
      if (act === "discard") body.reason = $("#bulk-reason").value.trim() || "by hand";
      const answer = await fetch(`/api/v1/dead-letters/${act}`, { method: "POST", body: JSON.stringify(body), headers: headers(), signal: running.signal });
      if (answer.status === 401) return door();
      if (!answer.ok) throw new Error(await reason(answer));
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "", line = {};
      for (;;) {
        const { value, done: over } = await reader.read();
        if (over) break;
        const lines = (rest + value).split("\n");
        rest = lines.pop();
        for (const text of lines) {
          if (!text) continue;
          line = JSON.parse(text);
          if (line.error) throw new Error(line.error.message);
          bar.hidden = dry; bar.max = Math.max(line.total, 1); bar.value = line.done;
          told.textContent = dry ? `${number(line.total)} would be ${done}.` : `${number(line.changed)} of ${number(line.total)} ${done}`;
        }
      }
      if (!line.finished) throw new Error(`the hub ended meanwhile. ${told.textContent}`);
      if (dry) $("#bulk-go").hidden = $("#bulk-dry").hidden = false;
      else {
        told.textContent += `${line.skipped ? `, ${number(line.skipped)} had changed meanwhile` : ""}. Done.`;
        for (const box of $$("#groups input:checked")) box.checked = false;
      }
    } catch (error) {
      told.textContent = error.name === "AbortError" ? `Stopped. ${told.textContent}` : `Not done: ${error.message}`;
      if (error.name !== "AbortError") $("#bulk-go").hidden = $("#bulk-dry").hidden = false;
    }
    running = null; $("#bulk-while").hidden = true; $("#bulk-stop").textContent = "Close"; stale = true; last = 0;
  };
  const headers = () => { const token = $("meta[name=csrf]")?.content; return { "Content-Type": "application/json", ...(token ? { "X-CSRF-Token": token } : {}) }; };
  const reason = async (answer) => { try { const { error } = await answer.json(); return error.hint ? `${error.message}. ${error.hint}` : error.message; } catch { return `the hub answered ${answer.status}`; } };
  bulk?.addEventListener("close", () => { running?.abort(); refresh(); });
  // What goes on with the page ends by its button, and not by a key or a click beside it.
  bulk?.addEventListener("cancel", (event) => { if (running) event.preventDefault(); });
  addEventListener("beforeunload", (event) => { if (running) event.preventDefault(); });

  // ── completion ──────────────────────────────────────────────────────────
  const field = $("#q"), list = $("#choices"), words = json("completions");
  let picked = -1;
  const fold = () => { list.hidden = true; picked = -1; field.setAttribute("aria-expanded", "false"); field.removeAttribute("aria-activedescendant"); };
  const complete = () => {
    const before = field.value.slice(0, field.selectionStart), word = before.slice(before.lastIndexOf(" ") + 1);
    const key = Object.keys(words).find((one) => word.startsWith(one));
    const found = key ? words[key].filter((one) => one.toLowerCase().startsWith(word.slice(key.length).toLowerCase()) && key + one !== word).map((one) => key + one) : Object.keys(words).filter((one) => one.startsWith(word));
    list.replaceChildren(...found.slice(0, 12).map((text, n) => { const li = document.createElement("li"); li.role = "option"; li.id = `choice-${n}`; li.textContent = text; li.setAttribute("aria-selected", "false"); return li; }));
    picked = -1;
    list.hidden = !found.length;
    field.setAttribute("aria-expanded", String(!list.hidden));
  };
  const take = (li) => {
    const end = field.selectionStart, start = field.value.lastIndexOf(" ", end - 1) + 1, text = li.textContent;
    const whole = !/[:~]$/.test(text);
    field.setRangeText(text + (whole ? " " : ""), start, end, "end");
    if (whole) fold(); else complete();
    field.focus();
  };
  const pick = (by) => {
    const all = $$("li", list);
    picked = (picked + by + all.length) % all.length;
    all.forEach((li, n) => li.setAttribute("aria-selected", String(n === picked)));
    field.setAttribute("aria-activedescendant", all[picked].id);
    all[picked].scrollIntoView({ block: "nearest" });
  };
  field?.addEventListener("input", complete);
  field?.addEventListener("focus", complete);
  field?.addEventListener("blur", () => setTimeout(fold, 150));
  list?.addEventListener("mousedown", (event) => { event.preventDefault(); const li = event.target.closest("li"); if (li) take(li); });
  field?.addEventListener("keydown", (event) => {
    if (!list.hidden && (event.key === "ArrowDown" || event.key === "ArrowUp")) { event.preventDefault(); pick(event.key === "ArrowDown" ? 1 : -1); }
    else if (!list.hidden && picked >= 0 && (event.key === "Enter" || event.key === "Tab")) { event.preventDefault(); take($$("li", list)[picked]); }
    else if (!list.hidden && event.key === "Tab" && $$("li", list).length === 1) { event.preventDefault(); take($("li", list)); }
    else if (event.key === "Escape") { event.stopPropagation(); if (list.hidden) field.blur(); else fold(); }
  });

  // ── clicks and keys ─────────────────────────────────────────────────────
  document.addEventListener("click", (event) => {
    const { target } = event, hit = (selector) => target.closest(selector);
    let found;
    if (found = hit("[data-bulk]")) return ask(found);
    if (found = hit("[data-copy]")) return copy(found.dataset.copy);
    if (found = hit("[data-show]")) { const part = document.getElementById(found.dataset.show); part.hidden = !part.hidden; if (!part.hidden) $("textarea, input", part)?.focus(); return; }
    if (hit("[data-close]")) return close();
    if (hit("[data-help]")) return $("#help").showModal();
    if (hit("#pause")) return pause();
    if (hit("#bulk-go")) return work(false);
    if (hit("#bulk-dry")) return work(true);
    if (hit("#bulk-stop") && running) { event.preventDefault(); return running.abort(); }
    if (found = hit("[role=tab]")) return turn(found);
    if (found = hit("#list circle")) return open(found.dataset.id);
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.button || hit("input, button, summary") || String(getSelection())) return;
    if ((found = hit("#list tr[data-id]")) && split) { event.preventDefault(); return open(found.dataset.id); }
    if ((found = hit("tr[data-go]")) && !hit("a")) location.assign(found.dataset.go);
  });
  const turn = (tab, focus = true) => {
    for (const one of $$("[role=tab]", tab.parentElement)) {
      const on = one === tab;
      one.setAttribute("aria-selected", String(on));
      one.tabIndex = on ? 0 : -1;
      document.getElementById(one.getAttribute("aria-controls")).hidden = !on;
    }
    if (tab.dataset.load) { const panel = document.getElementById(tab.getAttribute("aria-controls")); htmx.ajax("GET", tab.dataset.load, { source: panel, target: panel, swap: "innerHTML" }); }
    if (focus) tab.focus({ preventScroll: true });
  };
  document.addEventListener("change", (event) => { const into = event.target.dataset?.fill; if (into) document.getElementById(into).value = json("samples")[event.target.value]; });
  document.addEventListener("keydown", (event) => {
    const { key, target } = event;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (target.matches("[role=tab]") && (key === "ArrowRight" || key === "ArrowLeft")) {
      const tabs = $$("[role=tab]", target.parentElement);
      return turn(tabs[(tabs.indexOf(target) + (key === "ArrowRight" ? 1 : tabs.length - 1)) % tabs.length]);
    }
    if (target.matches("input:not([type=checkbox]), textarea, select") || $("dialog[open]")) return;
    if (key === "/") { event.preventDefault(); const find = $("main .search input"); if (find) { find.focus(); find.select(); } else location.assign("/deliveries?find"); }
    else if (key === "j" || key === "k") { event.preventDefault(); step(key === "j" ? 1 : -1); }
    else if (key === "Escape") close();
    else if (key === "p") pause();
    else if (key === "?") $("#help").showModal();
    else if (/^[1-9]$/.test(key)) $$("nav a")[key - 1]?.click();
  });
  if (field && location.search === "?find") { history.replaceState({}, "", "/deliveries"); field.focus(); }

  // ── htmx ────────────────────────────────────────────────────────────────
  document.addEventListener("htmx:configRequest", (event) => { const token = $("meta[name=csrf]")?.content; if (token) event.detail.headers["X-CSRF-Token"] = token; });
  document.addEventListener("door", door);
  document.addEventListener("tell", (event) => tell(event.detail.value));
  document.addEventListener("htmx:confirm", (event) => { const question = event.target.dataset?.sure; if (question) { event.preventDefault(); if (confirm(question)) event.detail.issueRequest(true); } });
  document.addEventListener("htmx:afterRequest", (event) => { if (event.detail.requestConfig?.verb !== "get") { stale = true; last = 0; refresh(); } });
  document.addEventListener("htmx:responseError", (event) => { const { xhr } = event.detail; if (!xhr.getResponseHeader("HX-Trigger")) { let text = `the hub answered ${xhr.status}`; try { text = JSON.parse(xhr.responseText).error.message; } catch { /* no JSON */ } tell(text); } });
  document.addEventListener("htmx:sendError", (event) => {
    light("lost", "connection lost");
    if (event.detail.requestConfig?.verb !== "get") tell("The hub does not answer. Whether it was done is not known: look again once it is back.");
  });
  // What somebody has laid hands on since it was asked for stays as it is, and is asked for again.
  document.addEventListener("htmx:beforeSwap", ({ detail }) => { if (detail.target === drawing && held(drawing)) { detail.shouldSwap = false; stale = true; } });
  document.addEventListener("htmx:afterSwap", () => { choose(); tick(); });

  // A phone's row of pages is moved by itself, and the page stays.
  const nav = $("nav"), here = $("nav [aria-current]");
  if (here) nav.scrollLeft = here.offsetLeft - (nav.clientWidth - here.offsetWidth) / 2;
  choose();
  tick();
  if (first) listen();
})();
