// Tokens that can be looked at: how likely each was, and what else might have stood in its place.
//
// All tokens of an answer are one stop of the Tab key; arrow keys go from one to the next.

import { find, make } from "./dom.js";

/** What is known of each token's element. */
const known = new WeakMap();
let pinned = null;

const detail = () => find("#token-detail");

export function appendTokens(output, tokens) {
  for (const token of tokens) {
    const element = make("span", { class: `token ${likelihood(token.logprob)}`, role: "button", "aria-label": spoken(token) }, token.text);
    element.tabIndex = find(".token", output) ? -1 : 0;
    known.set(element, token);
    output.append(element);
  }
}

/** Five shades; the least likely ones are underlined, too. */
function likelihood(logprob) {
  const probability = Math.exp(logprob);
  return `p${[0.05, 0.2, 0.5, 0.8].filter((bound) => probability >= bound).length}`;
}

const percent = (logprob) => {
  const value = Math.exp(logprob) * 100;
  return `${value >= 10 ? value.toFixed(0) : value >= 0.01 ? value.toPrecision(2) : "<0.01"} %`;
};

/** A token's text with blanks that can be seen. */
const visible = (text) => text.replaceAll(" ", "␣").replaceAll("\n", "⏎").replaceAll("\t", "⇥") || "(nothing)";

const NAMES = { " ": "space", "\n": "line break", "\t": "tab" };
const spoken = ({ text, logprob }) => `${text.trim() || NAMES[text] || "blanks"}, ${percent(logprob)}`;

function showDetail(element) {
  const token = known.get(element);
  if (!token) return;
  const box = detail();
  const row = ({ text, logprob }) => {
    const bar = make("span", { class: "bar" });
    bar.style.inlineSize = `${Math.max(1, Math.exp(logprob) * 100)}%`;
    const is = text === token.text;
    return make("tr", { class: is ? "taken" : null },
      make("th", { scope: "row" }, visible(text)),
      make("td", { class: "number" }, percent(logprob)),
      make("td", { class: "bars" }, bar));
  };
  const taken = token.top.some(({ text }) => text === token.text) ? [] : [token];
  box.replaceChildren(
    make("p", {}, make("strong", {}, visible(token.text)), ` ${percent(token.logprob)}, logprob ${token.logprob.toFixed(3)}`),
    make("table", {}, make("tbody", {}, ...[...token.top, ...taken].map(row))),
  );
  box.hidden = false;
  for (const other of document.querySelectorAll("[aria-describedby=token-detail]")) other.removeAttribute("aria-describedby");
  element.setAttribute("aria-describedby", "token-detail");
  place(box, element.getBoundingClientRect());
}

/** Under the token, or above it where there is no room. */
function place(box, token) {
  const { offsetWidth: width, offsetHeight: height } = box;
  const below = token.bottom + height + 8 < innerHeight;
  box.style.left = `${Math.max(8, Math.min(token.left, innerWidth - width - 8))}px`;
  box.style.top = `${below ? token.bottom + 4 : Math.max(8, token.top - height - 4)}px`;
}

/** Hides it; says whether there was anything to hide. */
export function hideDetail() {
  const box = detail();
  const shown = !box.hidden;
  box.hidden = true;
  pinned = null;
  return shown;
}

const tokenAt = (event) => event.target.closest?.(".token");

function move(from, key) {
  const all = [...from.parentElement.querySelectorAll(".token")];
  const at = all.indexOf(from);
  const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: all.length - 1 }[key];
  if (to === undefined || !all[to]) return;
  from.tabIndex = -1;
  all[to].tabIndex = 0;
  all[to].focus();
}

export function begin() {
  document.addEventListener("pointerover", (event) => {
    const token = tokenAt(event);
    if (pinned || event.pointerType === "touch") return;
    if (token) showDetail(token);
    else if (!document.activeElement?.classList.contains("token")) hideDetail();
  });
  document.addEventListener("focusin", (event) => {
    const token = tokenAt(event);
    if (token) showDetail(token);
    else if (!pinned) hideDetail();
  });
  document.addEventListener("click", (event) => {
    const token = tokenAt(event);
    if (!token || token === pinned) hideDetail();
    else {
      showDetail(token);
      pinned = token;
    }
  });
  document.addEventListener("keydown", (event) => {
    const token = tokenAt(event);
    if (!token) return;
    if (["ArrowRight", "ArrowLeft", "Home", "End"].includes(event.key)) {
      event.preventDefault();
      pinned = null;
      move(token, event.key);
    } else if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      token.click();
    }
  });
  // To focus a token may scroll to it.
  const follow = () => {
    const token = pinned ?? document.activeElement;
    if (token?.classList.contains("token")) place(detail(), token.getBoundingClientRect());
    else hideDetail();
  };
  addEventListener("scroll", follow, { capture: true, passive: true });
}
