"""The page's CSS: light and dark by what the reader's system prefers."""

STYLE = """
:root {
  color-scheme: light dark;
  --page: #fbfaf8; --card: #ffffff; --ink: #1f2328; --soft: #636a73; --rule: #e3e1dc;
  --good: #1a7f4b; --bad: #b3362f; --accent: #b4541a;
  --op-conv: #6b7280; --op-cam: #2f7fbf; --op-cbam: #2a9d8f; --op-ca: #7a9a1f;
  --op-rfa: #d9480f; --op-rfcbam: #c2255c; --op-rfca: #7048b8;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #14171a; --card: #1c2024; --ink: #e6e7e9; --soft: #9aa2ab; --rule: #31373d;
    --good: #56c58b; --bad: #f0857d; --accent: #f0955a;
    --op-conv: #a3abb5; --op-cam: #62b0ea; --op-cbam: #4fd0c0; --op-ca: #b5d34e;
    --op-rfa: #ff8a4c; --op-rfcbam: #f773a5; --op-rfca: #b394f0;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1040px; margin: 0 auto; padding: 40px 20px 64px; }
h1 { font-size: 28px; line-height: 1.2; margin: 0 0 6px; letter-spacing: -0.01em; }
h2 { font-size: 19px; margin: 44px 0 6px; }
p { margin: 6px 0 12px; max-width: 46em; }
.lead { color: var(--soft); }
.card { background: var(--card); border: 1px solid var(--rule); border-radius: 12px;
  padding: 18px; margin: 14px 0; overflow-x: auto; }
.verdicts { border-left: 4px solid var(--accent); padding: 2px 0 2px 14px; margin: 18px 0; }
.verdicts p { margin: 3px 0; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(340px, 1fr)); gap: 14px; }
.pair .card { margin: 0; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { text-align: right; font-weight: 600; font-size: 13px; color: var(--soft);
  padding: 4px 10px 8px; vertical-align: bottom; }
td { text-align: right; padding: 7px 10px; border-top: 1px solid var(--rule);
  white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
td.best { font-weight: 700; }
.higher { color: var(--good); font-weight: 600; } .lower { color: var(--bad); font-weight: 600; }
.note { font-size: 13px; margin: 10px 0 0; }
.quiet { color: var(--soft); }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; font-size: 14px; max-width: none; }
.key { display: inline-flex; align-items: center; gap: 7px; }
.key i { width: 12px; height: 12px; border-radius: 3px; display: inline-block; }
svg { display: block; width: 100%; height: auto; margin: 0 auto; }
svg text { font-family: inherit; fill: var(--ink); }
svg .tick { font-size: 11px; fill: var(--soft); } svg .axis { font-size: 12px; fill: var(--soft); }
svg .name { font-size: 13px; font-weight: 600; } svg .value { font-size: 13px; }
svg .grid { stroke: var(--rule); stroke-width: 1; } svg .zero { stroke: var(--soft); }
svg .curve { fill: none; stroke-width: 2; stroke-linejoin: round; }
svg .band { opacity: 0.13; } svg .bar { stroke-width: 2; }
svg .leader { fill: none; stroke: var(--rule); stroke-width: 1; }
svg .seed { fill: var(--card); stroke: var(--soft); stroke-width: 1.2; }
.maps { display: grid; gap: 6px; justify-content: start; align-items: center; }
.maps b { font-size: 13px; text-align: center; } .maps small { display: block; font-weight: 400;
  font-size: 11px; color: var(--soft); }
.maps img { width: 76px; height: 76px; image-rendering: pixelated; border-radius: 5px;
  display: block; }
.maps .wrong { outline: 2px solid var(--bad); outline-offset: 1px; }
.maps .none { width: 76px; height: 76px; border: 1px dashed var(--rule); border-radius: 5px; }
.scale { display: flex; align-items: center; gap: 8px; font-size: 12px; color: var(--soft);
  margin: 10px 0 0; }
.scale i { display: block; width: 150px; height: 10px; border-radius: 5px; }
details { margin: 10px 0; } summary { cursor: pointer; font-weight: 600; }
details table { width: auto; font-size: 14px; } details td { white-space: normal; }
details td + td { text-align: left; word-break: break-word; }
code { font: 13px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
@media print { body { background: #fff; } .card { break-inside: avoid; } }
"""
