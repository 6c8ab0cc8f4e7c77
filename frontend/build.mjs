// Builds the committed bundle (static/board.js, static/board.css), or with --tests the unit tests.
import { readdirSync, rmSync, writeFileSync } from "node:fs";
import { build } from "esbuild";

const here = new URL("./", import.meta.url);
const LIMIT = 250 * 1024;

if (process.argv.includes("--tests")) {
  rmSync(new URL(".tests", here), { recursive: true, force: true });
  await build({
    absWorkingDir: here.pathname,
    entryPoints: readdirSync(new URL("test", here))
      .filter((f) => f.endsWith(".test.ts"))
      .map((f) => `test/${f}`),
    outdir: ".tests",
    bundle: true,
    format: "esm",
    platform: "node",
    target: "es2022",
    outExtension: { ".js": ".mjs" },
  });
} else {
  const result = await build({
    absWorkingDir: here.pathname,
    entryPoints: { board: "src/main.ts" },
    outdir: process.env.DG_OUT ?? "../dg_explorer/widgets/static",
    bundle: true,
    minify: true,
    write: false,
    charset: "utf8",
    format: "esm",
    target: "es2022",
    legalComments: "none",
  });
  for (const file of result.outputFiles) {
    let text = file.text;
    if (file.path.endsWith(".js")) {
      // a fixed last line: the exported page replaces it by a call (see dg_explorer/widgets/export/page.py)
      const parts = /export\{(\w+) as default,(\w+) as openPage\};?\s*$/.exec(text);
      if (!parts) throw new Error("the bundle must end in its two exports");
      text =
        text.slice(0, parts.index) +
        `const dgBoard=${parts[1]},dgPage=${parts[2]};\nexport{dgBoard as default,dgPage as openPage};\n`;
      if (/<\/script|<!--/i.test(text))
        throw new Error("the bundle would end the script tag of a page");
      if (text.length > LIMIT) throw new Error(`bundle is ${text.length} bytes; at most ${LIMIT}`);
    }
    writeFileSync(file.path, text);
    console.log(`${file.path.split("/").pop()}  ${(text.length / 1024).toFixed(1)} KB`);
  }
}
