// Returns what is wrong with the page, as sentences.
(() => {
  const problems = [];
  const short = s => JSON.stringify(s.trim().replace(/\s+/g, ' ').slice(0, 60));

  const page = document.scrollingElement;
  if (page.scrollWidth > innerWidth) {
    problems.push(`the page is ${page.scrollWidth} px wide in a window of ${innerWidth} px`);
    for (const e of document.body.querySelectorAll('*')) {
      const r = e.getBoundingClientRect();
      if (r.right > innerWidth + 1) problems.push(`  <${e.tagName} class=${e.getAttribute('class')}> reaches to ${r.right.toFixed(0)}`);
      if (problems.length > 6) break;
    }
  }

  // Text of charts: nothing overlaps, nothing is cut off at the drawing's edge.
  const shown = e => e.checkVisibility({opacityProperty: true, visibilityProperty: true});
  const labels = [...document.querySelectorAll('svg text')].filter(shown)
    .map(e => ({text: e.firstChild.textContent, box: e.getBoundingClientRect(), frame: e.ownerSVGElement.getBoundingClientRect()}));
  labels.forEach((a, i) => {
    if (!a.box.width || !a.box.height) problems.push(`the label ${short(a.text)} has no size`);
    if (a.box.left < a.frame.left - 1 || a.box.right > a.frame.right + 1 || a.box.top < a.frame.top - 1 || a.box.bottom > a.frame.bottom + 1)
      problems.push(`the label ${short(a.text)} is cut off by its drawing`);
    for (const b of labels.slice(i + 1)) {
      if (a.box.left < b.box.right - .5 && b.box.left < a.box.right - .5 && a.box.top < b.box.bottom - 2 && b.box.top < a.box.bottom - 2)
        problems.push(`the labels ${short(a.text)} and ${short(b.text)} overlap`);
    }
  });

  // All text: inside the page, and with a contrast of 4.5 (WCAG AA) to what is behind it.
  const parse = c => {
    const n = (c.match(/[\d.]+/g) || []).map(Number);
    return c.startsWith('rgb') ? [n[0], n[1], n[2], n.length > 3 ? n[3] : 1] : null;
  };
  const over = (top, under) => top.slice(0, 3).map((v, i) => v * top[3] + under[i] * (1 - top[3])).concat(1);
  const light = c => {
    const [r, g, b] = c.slice(0, 3).map(v => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const paper = e => {
    const layers = [];
    for (; e; e = e.parentElement) {
      const c = parse(getComputedStyle(e).backgroundColor);
      if (c && c[3] > 0) layers.push(c);
      if (c && c[3] === 1) break;
    }
    const base = matchMedia('(prefers-color-scheme: dark)').matches ? [0, 0, 0, 1] : [255, 255, 255, 1];
    return layers.reverse().reduce((under, top) => over(top, under), base);
  };
  const setAside = e => e.closest('.skip, title, desc, defs, style, script') ||
    [...function* () { for (; e; e = e.parentElement) yield e }()].some(a => getComputedStyle(a).clipPath !== 'none');
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let n; (n = texts.nextNode());) {
    const e = n.parentElement;
    if (!n.textContent.trim() || setAside(e) || !shown(e)) continue;
    const range = document.createRange();
    range.selectNodeContents(n);
    const r = range.getBoundingClientRect();
    if (!r.width || !r.height) { problems.push(`the text ${short(n.textContent)} has no size`); continue; }
    if (r.left < -1 || r.right > innerWidth + 1) problems.push(`the text ${short(n.textContent)} lies outside the page`);
    const home = e.closest('td, th, dd, dt, li, p, h1, h2, caption, label, button');
    if (home && !e.ownerSVGElement && r.right > home.getBoundingClientRect().right + 1) problems.push(`the text ${short(n.textContent)} runs out of its <${home.tagName}>`);
    const style = getComputedStyle(e);
    const back = paper(e);
    const ink = parse(e.ownerSVGElement ? style.fill : style.color);
    if (!ink) { problems.push(`the text ${short(n.textContent)} has the colour ${style.color}`); continue; }
    const [a, b] = [light(over(ink, back)), light(back)].sort((x, y) => y - x);
    const contrast = (a + .05) / (b + .05);
    if (contrast < 4.5) problems.push(`the text ${short(n.textContent)} has a contrast of ${contrast.toFixed(1)}`);
  }
  return problems;
})()
