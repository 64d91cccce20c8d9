/* The ledger page: sort its tables by column, filter the figures of all claims by verdict and
   machine, and unfold the claim that a link leads to. Without it, everything is shown. */
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const value = (row, column) => row.cells[column].dataset.value ?? row.cells[column].textContent;

  function compare(a, b) {
    if (a === "" || b === "") return (a === "") - (b === ""); // what has no value goes last
    const [x, y] = [Number(a), Number(b)];
    return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b) : x - y;
  }

  function sort(table, head) {
    const column = head.cellIndex, body = table.tBodies[0];
    const down = head.getAttribute("aria-sort") === "ascending";
    all("th", table).forEach(th => th.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const order = (a, b) => compare(value(a, column), value(b, column));
    const rows = [...body.rows].sort((a, b) => (down ? order(b, a) : order(a, b)));
    body.append(...rows);
  }

  function makeSortable(table) {
    const titles = all("th", table).map(th => th.textContent);
    all("th", table).forEach(th => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = th.textContent;
      button.addEventListener("click", () => sort(table, th));
      th.replaceChildren(button);
    });
    // a phone shows each row as a block, whose cells carry their column's title
    for (const row of table.tBodies[0].rows)
      titles.forEach((title, i) => { row.cells[i].dataset.title = title; });
  }

  function matches(row, select) {
    if (select.dataset.filter === "verdict") return row.dataset.verdict === select.value;
    const titles = all("th", row.closest("table")); // a column for each machine
    const column = titles.findIndex(th => th.dataset.machine === select.value);
    return column >= 0 && value(row, column) !== "";
  }

  function filter(panel) {
    const wanted = all("select", panel).filter(s => s.value);
    let count = 0;
    all("details.ledger-claim").forEach(claim => {
      const rows = all("tbody tr", claim);
      rows.forEach(row => {
        row.hidden = wanted.some(select => !matches(row, select));
      });
      const shown = rows.filter(row => !row.hidden).length;
      count += shown;
      claim.open = wanted.length > 0 && shown > 0;
      claim.closest("section").hidden = shown === 0;
    });
    const output = panel.querySelector("output");
    output.textContent = output.dataset.words.replace("{count}", count);
  }

  function unfold() {
    const place = location.hash && document.getElementById(location.hash.slice(1));
    const section = place && place.closest("section");
    const claim = section && section.querySelector("details.ledger-claim");
    if (claim) { claim.open = true; place.scrollIntoView(); }
  }

  document.addEventListener("DOMContentLoaded", () => {
    all("table.ledger").forEach(makeSortable);
    all(".ledger-filters").forEach(panel => {
      panel.hidden = false;
      panel.addEventListener("change", () => filter(panel));
    });
    addEventListener("hashchange", unfold);
    unfold();
  });
})();
