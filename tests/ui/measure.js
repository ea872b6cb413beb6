// What a person in front of the display would complain about, as sentences. The limits come from harness.py.
(limits) => {
  const problems = [];
  const named = (element) => {
    const name = element.tagName.toLowerCase() + (element.id ? `#${element.id}` : "");
    const class_ = typeof element.className === "string" ? element.className.trim().split(/\s+/).join(".") : "";
    return `${name}${class_ ? `.${class_}` : ""} "${element.textContent.trim().replace(/\s+/g, " ").slice(0, 40)}"`;
  };
  const rounded = (box) => [box.left, box.top, box.right, box.bottom].map(Math.round).join(" ");
  const isSeen = (element) => element.checkVisibility({ opacityProperty: true, visibilityProperty: true });

  // -- colours, WCAG 2.2 ------------------------------------------------------------------------------------------
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const known = new Map();
  const rgba = (css) => {
    if (!known.has(css)) {
      canvas.canvas.width = canvas.canvas.height = 1;
      canvas.fillStyle = css;
      canvas.fillRect(0, 0, 1, 1);
      const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
      known.set(css, [r, g, b, a / 255]);
    }
    return known.get(css);
  };
  const over = (top, bottom) => [0, 1, 2].map((i) => top[i] * top[3] + bottom[i] * (1 - top[3])).concat(1);
  const background = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) {
      const colour = rgba(getComputedStyle(at).backgroundColor);
      layers.push(colour);
      if (colour[3] === 1) break;
    }
    return layers.reduceRight((below, layer) => over(layer, below), [255, 255, 255, 1]);
  };
  const opacity = (element) => {
    let share = 1;
    for (let at = element; at; at = at.parentElement) share *= Number(getComputedStyle(at).opacity);
    return share;
  };
  const luminance = ([r, g, b]) => {
    const linear = [r, g, b].map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  };
  const contrast = (a, b) => {
    const [light, dark] = [luminance(a), luminance(b)].sort((x, y) => y - x);
    return (light + 0.05) / (dark + 0.05);
  };

  // -- boxes ------------------------------------------------------------------------------------------------------
  const viewport = { left: 0, top: 0, right: innerWidth, bottom: innerHeight };
  const clip = (element) => {                                 // what of the display this element may paint on
    let { left, top, right, bottom } = viewport;
    for (let at = element; at && at !== document.body; at = at.parentElement) {
      if (getComputedStyle(at).overflow !== "visible") {
        const box = at.getBoundingClientRect();
        left = Math.max(left, box.left); right = Math.min(right, box.right);
        top = Math.max(top, box.top); bottom = Math.min(bottom, box.bottom);
      }
    }
    return { left, top, right, bottom };
  };
  const isOutside = (box, of) =>
    box.right <= of.left + 1 || box.left >= of.right - 1 || box.bottom <= of.top + 1 || box.top >= of.bottom - 1;
  const isOnTop = (box, element) => {                         // nothing that is not seen through lies upon it
    for (const there of document.elementsFromPoint((box.left + box.right) / 2, (box.top + box.bottom) / 2)) {
      if (there.contains(element) || element.contains(there)) return true;
      if (rgba(getComputedStyle(there).backgroundColor)[3] > 0.9) return false;
    }
    return false;
  };
  const isTurned = (element) => Boolean(element.closest(".columns"));   // static/fit.mjs: what is outside has its turn

  const texts = [];
  const said = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    if (!node.data.trim() || ["SCRIPT", "STYLE", "TEMPLATE", "NOSCRIPT"].includes(element.tagName)) continue;
    if (!isSeen(element)) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    const boxes = [...range.getClientRects()].filter((box) => box.width > 1 && box.height > 1);
    if (!boxes.length) continue;
    const size = parseFloat(getComputedStyle(element).fontSize), limit = clip(element), slack = Math.max(1.5, size * 0.2);
    if (limit.right - limit.left < 3) continue;               // only for screen readers
    said.push(node.data);
    const here = boxes.filter((box) => !isOutside(box, limit));
    if (!here.length) {                                       // another screenful, if this page is turned
      if (!isTurned(element)) problems.push(`out of sight: ${named(element)} at ${rounded(boxes[0])}`);
      continue;
    }
    for (const box of here) {
      const cut = Math.max(limit.left - box.left, limit.top - box.top, box.right - limit.right, box.bottom - limit.bottom);
      if (cut > slack) problems.push(`cut by ${Math.round(cut)} px: ${named(element)} at ${rounded(box)}`);
      texts.push({ box, element, size });
    }
    const cap_mm = (size * limits.cap_share) / limits.px_per_mm;
    if (cap_mm < limits.cap_mm - 0.02) problems.push(`capitals of ${cap_mm.toFixed(2)} mm: ${named(element)}`);
    const behind = background(element), ink = rgba(getComputedStyle(element).color).slice();
    ink[3] *= opacity(element);
    const ratio = contrast(over(ink, behind), behind);
    if (ratio < limits.contrast - 0.01 && !element.closest(":disabled")) problems.push(`contrast ${ratio.toFixed(1)}: ${named(element)}`);
  }

  const shown = texts.filter(({ box, element }) => isOnTop(box, element));
  for (let i = 0; i < shown.length; i++) {
    for (let j = i + 1; j < shown.length; j++) {
      const a = shown[i], b = shown[j];
      if (a.element === b.element) continue;
      const width = Math.min(a.box.right, b.box.right) - Math.max(a.box.left, b.box.left);
      const height = Math.min(a.box.bottom, b.box.bottom) - Math.max(a.box.top, b.box.top);
      if (width > 3 && height > 0.35 * Math.min(a.size, b.size)) {
        problems.push(`one upon the other: ${named(a.element)} and ${named(b.element)}`);
      }
    }
  }

  // -- things -----------------------------------------------------------------------------------------------------
  for (const element of document.querySelectorAll("button, a[href], input, select, textarea, [role=button]")) {
    if (!isSeen(element) || element.disabled) continue;
    const box = element.getBoundingClientRect(), least = limits.target_mm * limits.px_per_mm - 0.5;
    if (box.width < 1 || isOutside(box, clip(element))) continue;
    if (Math.min(box.width, box.height) < least) {
      problems.push(`a finger needs ${least.toFixed(0)} px, this has ${box.width.toFixed(0)} x ${box.height.toFixed(0)}: ${named(element)}`);
    }
    if (!(element.textContent.trim() || element.ariaLabel || element.labels?.length)) problems.push(`no name: ${named(element)}`);
  }
  for (const element of document.querySelectorAll("body *")) {
    if (!isSeen(element) || element.closest("svg")) continue;
    const style = getComputedStyle(element);
    if (style.overflow === "visible" || style.display.startsWith("inline") || !element.textContent.trim()) continue;
    if (element.clientWidth <= 1) continue;                   // only for screen readers
    if (element.scrollWidth > element.clientWidth + 1 && !isTurned(element)) {
      problems.push(`${element.scrollWidth - element.clientWidth} px too wide: ${named(element)}`);
    }
    const slack = parseFloat(style.fontSize) * 0.15;          // of a line's own air, below its letters
    if (element.scrollHeight > element.clientHeight + slack && !isTurned(element)) {
      problems.push(`${element.scrollHeight - element.clientHeight} px too high: ${named(element)}`);
    }
  }
  for (const image of document.images) {
    if (isSeen(image) && !(image.complete && image.naturalWidth)) problems.push(`no picture: ${image.src}`);
  }
  const root = document.documentElement;
  if (root.scrollWidth > innerWidth || root.scrollHeight > innerHeight) {
    problems.push(`the page is ${root.scrollWidth} x ${root.scrollHeight} on a display of ${innerWidth} x ${innerHeight}`);
  }
  if (root.lang !== limits.language) problems.push(`lang is ${root.lang}`);
  if ((root.dir || "ltr") !== limits.direction) problems.push(`dir is ${root.dir}`);
  return { problems: [...new Set(problems)], said: said.join("\n") };
}
