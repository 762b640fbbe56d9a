// Draws the charts: each is data in a script element, followed by its place. `ast` lets Vega do without eval.
function draw(root) {
  for (const data of root.querySelectorAll('script[type="application/vnd.vegalite+json"]')) {
    vegaEmbed(data.nextElementSibling, JSON.parse(data.textContent),
              {mode: "vega-lite", renderer: "svg", actions: false, ast: true,
               defaultStyle: false, tooltip: {disableDefaultStyle: true}});
  }
}
document.addEventListener("DOMContentLoaded", () => draw(document));
// Marks by key: k, d and u press a button of the pair that has the focus, of the first one where none has; on to the next.
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest?.('input:not([type="checkbox"]), select, textarea');
  if (typing || event.defaultPrevented || event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
  const forms = [...document.querySelectorAll("form.marks")];
  const pair = (form) => form.closest(".card, article") ?? form;
  const at = Math.max(0, forms.findIndex((form) => pair(form).contains(document.activeElement)));
  const button = forms[at]?.querySelector(`button[data-key="${CSS.escape(event.key)}"]`);
  if (!button) return;
  event.preventDefault();
  button.click();
  forms[at + 1]?.querySelector("button").focus();
});
document.addEventListener("htmx:oobAfterSwap", (event) => draw(event.detail.elt));
document.addEventListener("click", (event) => {
  const field = document.getElementById(event.target.dataset?.copy);
  if (field) { field.select(); navigator.clipboard.writeText(field.value); }
});
// What gives one more class a value is no part of its form: to type there asks for nothing, and stops no request.
document.addEventListener("input", (event) => {
  if (event.target.getAttribute("form") === "none") event.stopPropagation();
}, true);
// A picture that cannot be shown: the sentence that is answered in its place.
document.addEventListener("error", async (event) => {
  const image = event.target;
  if (!(image instanceof HTMLImageElement) || !image.src.includes("/picture/")) return;
  const answer = await fetch(image.src);
  const sentence = document.createElement("p");
  sentence.className = "none";
  sentence.textContent = answer.ok ? "No picture: this browser cannot show it" : await answer.text();
  image.replaceWith(sentence);
}, true);
// A language is offered by its name too: who looks for Thai need not know its code.
document.addEventListener("htmx:afterSwap", (event) => {
  if (!event.detail.target.id.startsWith("values-language")) return;
  const names = new Intl.DisplayNames(["en"], {type: "language"});
  for (const option of event.detail.target.children) {
    try { option.textContent = `${names.of(option.value)} · ${option.textContent}`; } catch { /* no code of a language */ }
  }
});
