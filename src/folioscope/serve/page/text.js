// The text beside the picture: a block for each region, found words marked.

import { render } from "./markdown.js";
import { tone } from "./stage.js";

const FIGURES = ["image", "figure"];

export class Text {
  constructor(root, light) {
    this.root = root;
    this.matches = [];
    this.now = -1;
    root.addEventListener("pointerover", (event) => light(this.placeOf(event.target)));
    root.addEventListener("focusin", (event) => light(this.placeOf(event.target)));
    root.addEventListener("pointerleave", () => light(null));
  }

  placeOf(element) {
    const block = element.closest?.(".block");
    return block ? Number(block.dataset.place) : null;
  }

  show(page, words) {
    this.page = page;
    const stays = this.root.scrollTop;
    const blocks = page.regions.map((region, place) => this.block(region, place));
    if (!blocks.length && page.raw) blocks.push(plain(page.raw));
    if (page.error) blocks.push(problem(page.error));
    else if (page.status === "truncated") blocks.push(problem("This page was cut before its end."));
    else if (page.status === "repeated") blocks.push(problem("The model began to repeat itself here and was stopped."));
    this.root.replaceChildren(...blocks);
    this.root.scrollTop = stays;
    this.mark(words);
  }

  block(region, place) {
    const made = document.createElement("section");
    made.className = this.page.lit === place ? "block lit" : "block";
    made.dataset.place = place;
    made.tabIndex = 0;
    made.style.setProperty("--tone", tone(region.label));
    const label = Object.assign(document.createElement("div"), { className: "label", textContent: region.label });
    made.append(label, render(region.text));
    if (FIGURES.includes(region.label.toLowerCase())) made.append(...region.boxes.map((box) => this.figure(box)));
    return made;
  }

  figure([x1, y1, x2, y2]) {
    const canvas = document.createElement("canvas");
    const [width, height] = this.page.size;
    const picture = new Image();
    picture.onload = () => {
      const [across, down] = [picture.naturalWidth / width, picture.naturalHeight / height];
      canvas.width = Math.max(1, (x2 - x1) * across);
      canvas.height = Math.max(1, (y2 - y1) * down);
      canvas.getContext("2d").drawImage(picture, -x1 * across, -y1 * down);
    };
    picture.src = this.page.url;
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", "Figure");
    canvas.style.maxWidth = "100%";
    return canvas;
  }

  light(place, scroll) {
    for (const block of this.root.querySelectorAll(".block")) {
      const lit = place !== null && Number(block.dataset.place) === place;
      block.classList.toggle("lit", lit);
      if (lit && scroll) block.scrollIntoView({ block: "nearest" });
    }
  }

  // Marks every place of the words; returns how many there are
  mark(words) {
    for (const mark of this.root.querySelectorAll("mark")) mark.replaceWith(...mark.childNodes);
    this.root.normalize();
    this.matches = [];
    this.now = -1;
    if (!words) return 0;
    const pattern = new RegExp(words.trim().split(/\s+/).map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("\\s+"), "gi");
    const walker = document.createTreeWalker(this.root, NodeFilter.SHOW_TEXT);
    const texts = [];
    while (walker.nextNode()) if (!walker.currentNode.parentElement.closest(".label")) texts.push(walker.currentNode);
    for (const text of texts) this.markIn(text, pattern);
    return this.matches.length;
  }

  markIn(text, pattern) {
    const found = [...text.data.matchAll(pattern)].filter((match) => match[0]).reverse();
    for (const match of found) {
      const rest = text.splitText(match.index);
      rest.splitText(match[0].length);
      const mark = document.createElement("mark");
      rest.replaceWith(mark);
      mark.append(rest);
      this.matches.push(mark);
    }
    if (found.length > 1) this.matches.splice(-found.length, found.length, ...this.matches.slice(-found.length).reverse());
  }

  step(by) {
    if (!this.matches.length) return null;
    this.matches[this.now]?.classList.remove("now");
    this.now = (this.now + by + this.matches.length) % this.matches.length;
    const mark = this.matches[this.now];
    mark.classList.add("now");
    mark.scrollIntoView({ block: "center" });
    return this.placeOf(mark);
  }
}

function plain(raw) {
  const made = document.createElement("section");
  made.append(render(raw.replace(/<\|\/?(ref|det)\|>/g, " ")));
  return made;
}

function problem(message) {
  return Object.assign(document.createElement("p"), { className: "bad", textContent: message });
}
