// Ratings of the cases: kept in this browser for this page, and handed on as a table.
{
  const board = document.querySelector("[data-ratings]");
  const cases = [...document.querySelectorAll("#case-list > .case")];
  if (board && cases.length) {
    const key = `flairprep ratings ${location.pathname} ${board.dataset.ratings}`;
    const said = board.querySelector("output");
    let ratings = {}, kept = true;
    try {
      ratings = JSON.parse(localStorage.getItem(key)) ?? {};
    } catch {
      kept = false;
    }
    ratings = Object.assign(Object.create(null), ratings); // a case may be named like what every object has

    const known = () => cases.filter((row) => ratings[row.dataset.id]);
    const tell = () => {
      const count = (name) => known().filter((row) => ratings[row.dataset.id].rating === name).length;
      const names = ["good", "doubtful", "exclude"].map((name) => `${count(name)} ${name}`).join(", ");
      said.textContent = `${known().length} of ${cases.length} cases are rated: ${names}.`
        + (kept ? "" : " This browser keeps nothing: download them before you leave.");
    };
    const keep = () => {
      try {
        localStorage.setItem(key, JSON.stringify(ratings));
        kept = true;
      } catch {
        kept = false;
      }
      tell();
    };
    for (const row of cases) {
      const box = row.querySelector(".rating");
      const choice = box.querySelector("select"), comment = box.querySelector("input");
      const before = ratings[row.dataset.id];
      choice.value = before?.rating ?? "";
      comment.value = before?.comment ?? "";
      row.dataset.rating = choice.value;
      box.addEventListener("change", () => {
        row.dataset.rating = choice.value;
        if (choice.value) ratings[row.dataset.id] = { rating: choice.value, comment: comment.value.trim() };
        else delete ratings[row.dataset.id];
        keep();
      });
      box.hidden = false;
    }
    // An apostrophe keeps a spreadsheet from running a text; flairprep removes it.
    const cell = (text) => `"${(/^'*[=@\t\r+-]/.test(text) ? `'${text}` : text).replaceAll('"', '""')}"`;
    board.querySelector("button").addEventListener("click", () => {
      const lines = known().map((row) => {
        const { rating, comment } = ratings[row.dataset.id];
        return [row.dataset.id, rating, comment].map(cell).join(",");
      });
      handOn("ratings.csv", ["case_id,rating,comment", ...lines, ""].join("\n"), "text/csv");
    });
    board.hidden = false;
    tell();
  }
}
