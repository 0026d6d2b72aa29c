// Looks at every page of the built book: a wide screen and a phone, in light and in dark.
// Writes one picture for each into the folder it is run in, and fails on what a reader would meet: a page wider than
// its screen, a script error, a file taken from elsewhere, a fault against WCAG 2.1 A or AA.
//
//   npm install playwright-core axe-core        (in a folder outside the checkout; Chromium from the system)
//   node CHECKOUT/tools/screenshot.mjs CHECKOUT/_build/html
import { createServer } from "node:http";
import { readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { extname, join, resolve } from "node:path";

const installed = createRequire(join(process.cwd(), "node_modules"));
const { chromium } = installed("playwright-core");
const axe = readFileSync(installed.resolve("axe-core/axe.min.js"), "utf8");
const site = resolve(process.argv[2]);

// The theme's own: its labels, its bibliography roles, and a script that it loads twice.
const THEME = ["label-content-name-mismatch", "aria-deprecated-role", "aria-required-children", "THEBE_JS_URL",
  "Got invalid theme mode", "classList"];
const TYPES = { ".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml" };

const server = createServer((request, response) => {
  const file = join(site, decodeURIComponent(new URL(request.url, "http://site").pathname));
  try {
    const body = readFileSync(file);
    response.writeHead(200, { "content-type": TYPES[extname(file)] ?? "application/octet-stream" }).end(body);
  } catch {
    response.writeHead(404).end();
  }
});
await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
const home = `http://127.0.0.1:${server.address().port}/`;
const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });

async function look(name, width, mode) {
  const context = await browser.newContext({ viewport: { width, height: 900 }, colorScheme: mode });
  const page = await context.newPage();
  const faults = [];
  const ours = (url) => url.startsWith(home) || /^(data|blob):/.test(url);
  page.on("request", (request) => ours(request.url()) || faults.push(`from elsewhere: ${request.url()}`));
  page.on("response", (response) => response.status() < 400 || faults.push(`${response.status()} ${response.url()}`));
  page.on("pageerror", (error) => faults.push(`script: ${error.message}`));
  await page.goto(`${home}chapters/${name}`, { waitUntil: "networkidle" });
  await page.screenshot({ path: `${name.replace(".html", "").replace("/", "-")}-${width}-${mode}.png`, fullPage: true });
  const wider = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  if (wider > 0) faults.push(`${wider} px wider than the screen`);
  await page.evaluate(axe);
  const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"];
  const { violations } = await page.evaluate((tags) => window.axe.run({ runOnly: tags }), tags);
  faults.push(...violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.target).join("; ")}`));
  await context.close();
  return faults.filter((fault) => !THEME.some((known) => fault.includes(known)));
}

for (const name of readdirSync(join(site, "chapters"), { recursive: true }).filter((file) => file.endsWith(".html")))
  for (const width of [1280, 390])
    for (const mode of ["light", "dark"])
      for (const fault of await look(name, width, mode)) {
        console.log(`${name} at ${width} px, ${mode}: ${fault}`);
        process.exitCode = 1;
      }
await browser.close();
server.close();
