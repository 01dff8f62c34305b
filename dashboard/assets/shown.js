// Builds the tree that Python sends (dashboard/tree.py). Texts become text nodes; tags and attributes that are not listed
// here are left away, addresses may only lead to pages of this app, pictures only come with the tree.

const TAGS = new Set([
  "a", "b", "code", "dd", "details", "div", "dl", "dt", "figcaption", "figure", "h2", "h3", "img", "li", "ol", "p", "pre",
  "section", "span", "summary", "table", "tbody", "td", "th", "thead", "tr", "ul",
]);
const ATTRIBUTES = new Set([
  "alt", "aria-current", "aria-expanded", "aria-hidden", "aria-label", "class", "colspan", "data-label", "height", "href", "id", "loading", "open",
  "role", "scope", "src", "tabindex", "title", "width",
]);

function isSafe(name, value) {
  if (name === "href") return new URL(value, document.baseURI).origin === location.origin;
  if (name === "src") return value.startsWith("data:image/");
  return true;
}

function build(node) {
  if (typeof node === "string") return document.createTextNode(node);
  const [tag, attributes, children] = node;
  const made = document.createElement(TAGS.has(tag) ? tag : "span");
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("--")) made.style.setProperty(name, value);
    else if (ATTRIBUTES.has(name) && isSafe(name, value)) made.setAttribute(name, value);
  }
  made.append(...children.map(build));
  return made;
}

// A click on a link changes the address and lets Streamlit show what belongs to it, as the Back button does.
function follow(event) {
  const link = event.composedPath().find((one) => one.tagName === "A" && one.hasAttribute("href"));
  if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  history.pushState({}, "", link.href);
  window.dispatchEvent(new PopStateEvent("popstate", { state: {} }));
}

export default function ({ parentElement, data }) {
  let root = parentElement.querySelector(".shown");
  if (!root) {
    root = document.createElement("div");
    root.className = "shown";
    root.addEventListener("click", follow);
    parentElement.append(root);
  }
  const kept = [...root.querySelectorAll("[id]")].map((one) => [one.id, one.scrollTop, one.open]);
  root.replaceChildren(build(data));
  for (const [id, scrollTop, open] of kept) {
    const again = root.querySelector(`#${CSS.escape(id)}`);
    if (again && scrollTop) again.scrollTop = scrollTop;
    if (again && open) again.open = true;
  }
  const list = root.querySelector(".list");
  const current = list?.querySelector("[aria-current]");
  if (current && (current.offsetTop < list.scrollTop || current.offsetTop + current.offsetHeight > list.scrollTop + list.clientHeight)) {
    list.scrollTop = current.offsetTop - list.clientHeight / 3;
  }
}
