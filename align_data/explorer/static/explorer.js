// Draws the charts: each is data in a script element, followed by its place. `ast` lets Vega do without eval.
function draw(root) {
  for (const data of root.querySelectorAll('script[type="application/vnd.vegalite+json"]')) {
    vegaEmbed(data.nextElementSibling, JSON.parse(data.textContent),
              {mode: "vega-lite", renderer: "svg", actions: false, ast: true});
  }
}
document.addEventListener("DOMContentLoaded", () => draw(document));
document.addEventListener("htmx:load", (event) => draw(event.detail.elt));
