// Looks at every page of the built book: a wide screen and a phone, in light and in dark. `make look` runs it.
// Prints a table, and fails on what a reader would meet: a page wider than its screen or too heavy, a script error, a
// file taken from elsewhere, a slider that the keyboard does not move, a fault against WCAG 2.1 A or AA that is not the
// theme's. On request it leaves pictures in the folder it is run in; they take as long as all the rest.
import { createServer } from "node:http";
import { accessSync, readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { delimiter, extname, join, resolve } from "node:path";
import { gzipSync } from "node:zlib";

const installed = createRequire(join(process.cwd(), "node_modules"));
const { chromium } = installed("playwright-core");
const axe = readFileSync(installed.resolve("axe-core/axe.min.js"), "utf8");
const site = resolve(process.argv[2]);
const begins = process.argv[3] ?? ""; // of the page's name; empty for all
const pictures = Boolean(process.argv[4]);

const HEAVIEST = 3e6; // bytes that a page loads, compressed as GitHub Pages sends them
const WIDTHS = [1280, 390], MODES = ["light", "dark"];
const WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"];
// The theme's own: its labels, the roles of its bibliography, and scripts that it loads where they are not used.
const THEME = ["label-content-name-mismatch", "aria-deprecated-role", "aria-required-children", "THEBE_JS_URL",
  "Got invalid theme mode", "classList"];
const TYPES = { ".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml" };
const BROWSERS = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

function findBrowser() {
  const places = process.env.PATH.split(delimiter).flatMap((folder) => BROWSERS.map((name) => join(folder, name)));
  const exists = (path) => { try { accessSync(path); return true; } catch { return false; } };
  return process.env.CHROMIUM || places.find(exists);
}

let sent = 0;
const server = createServer((request, response) => {
  const file = join(site, decodeURIComponent(new URL(request.url, "http://site").pathname));
  try {
    const type = TYPES[extname(file)], body = readFileSync(file), packed = type ? gzipSync(body) : body;
    sent += packed.length;
    const encoding = type ? { "content-encoding": "gzip" } : {};
    response.writeHead(200, { "content-type": type ?? "application/octet-stream", ...encoding }).end(packed);
  } catch {
    response.writeHead(404).end();
  }
});

/** Open a page on a screen of this width; its faults in each mode, and what it loads. */
async function look(name, width) {
  const context = await browser.newContext({ viewport: { width, height: 900 } });
  const page = await context.newPage();
  page.setDefaultTimeout(300_000); // a busy machine typesets a page of formulas for minutes
  const faults = [];
  const ours = (url) => url.startsWith(home) || /^(data|blob):/.test(url);
  page.on("request", (request) => ours(request.url()) || faults.push(`from elsewhere: ${request.url()}`));
  page.on("response", (response) => response.status() < 400 || faults.push(`${response.status()} ${response.url()}`));
  page.on("pageerror", (error) => faults.push(`script: ${error.message}`));
  sent = 0;
  await page.goto(`${home}${name}`, { waitUntil: "networkidle" });
  const loaded = sent;
  if (loaded > HEAVIEST) faults.push(`loads ${(loaded / 1e6).toFixed(1)} MB`);
  for (const slider of await page.locator(".cell_output input[type=range]").all()) faults.push(...(await slide(slider)));
  await page.evaluate(axe);
  await page.evaluate(() => document.querySelectorAll("details").forEach((folded) => { folded.open = true; }));
  const inMode = {};
  for (const colorScheme of MODES) {
    await page.emulateMedia({ colorScheme });
    const followed = await follows(page, colorScheme);
    const path = `${name.slice(9, -5).replace("/", "-")}-${width}-${colorScheme}.png`;
    if (pictures) await page.screenshot({ path, fullPage: true });
    inMode[colorScheme] = [...(followed ? [] : [`is not ${colorScheme}`]), ...(await page.evaluate(inspect, WCAG))];
  }
  await context.close();
  return MODES.map((mode) => ({ width, mode, loaded, faults: [...faults, ...inMode[mode]] }));
}

/** Whether the page takes on the mode. Its script hears of a mode with the next frame, late on a busy machine. */
const follows = (page, mode) => page
  .waitForFunction((theme) => document.documentElement.dataset.theme === theme, mode, { timeout: 10_000 })
  .then(() => true, () => false);

/** Runs in the page: what is wrong with it as it stands. */
async function inspect(tags) {
  const wider = document.documentElement.scrollWidth - innerWidth;
  const { violations } = await window.axe.run({ runOnly: tags, resultTypes: ["violations"] });
  return [
    ...(wider > 0 ? [`${wider} px wider than the screen`] : []),
    ...violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.target).join("; ")}`),
  ];
}

/** What is wrong with a slider when an arrow key is pressed. */
async function slide(slider) {
  const state = () => slider.evaluate((input) => [
    input.getAttribute("aria-valuetext"),
    [...input.parentElement.querySelectorAll("polyline")].map((line) => line.getAttribute("points")).join(),
  ]);
  const before = await state();
  const atEnd = await slider.evaluate((input) => input.value === input.max);
  await slider.press(atEnd ? "ArrowLeft" : "ArrowRight");
  const after = await state();
  return ["text", "lines"].filter((_, k) => before[k] === after[k]).map((what) => `slider: an arrow key leaves its ${what}`);
}

const executablePath = findBrowser();
if (!executablePath) {
  console.error("make look needs Chromium or Chrome: install one, or name it with CHROMIUM=/path/to/it.");
  process.exit(1);
}
await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
const home = `http://127.0.0.1:${server.address().port}/`;
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });

const files = readdirSync(join(site, "chapters"), { recursive: true }).sort();
const pages = files.filter((file) => file.endsWith(".html") && file.startsWith(begins));
if (!pages.length) {
  console.error(`No page of the book is called ${begins}….`);
  process.exit(1);
}
const room = Math.max(...pages.map((page) => page.length)) - 5;
const row = (page, cells) => console.log(page.padEnd(room) + cells.map((cell) => String(cell).padStart(12)).join(""));
row("page", [...WIDTHS.flatMap((width) => MODES.map((mode) => `${width} ${mode}`)), "MB"]);
const found = [], themes = {};
for (const page of pages) {
  const looks = [];
  for (const width of WIDTHS) looks.push(...(await look(`chapters/${page}`, width)));
  const counts = looks.map(({ width, mode, faults }) => {
    const known = faults.map((fault) => THEME.find((own) => fault.includes(own)));
    known.filter(Boolean).forEach((own) => { themes[own] = (themes[own] ?? 0) + 1; });
    const own = faults.filter((_, k) => !known[k]);
    found.push(...own.map((fault) => `${page} at ${width} px, ${mode}: ${fault}`));
    return own.length;
  });
  row(page.slice(0, -5), [...counts, (Math.max(...looks.map(({ loaded }) => loaded)) / 1e6).toFixed(2)]);
}
console.log(`The theme's own, not counted: ${Object.entries(themes).map(([own, count]) => `${own} ${count}`).join(", ")}.`);
console.log(found.join("\n") || `${pages.length} pages, ${WIDTHS.length} widths, ${MODES.length} modes: no fault.`);
process.exitCode = found.length ? 1 : 0;
await browser.close();
server.close();
