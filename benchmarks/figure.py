"""A record of duels, as a table and as a figure."""

OURS, THEIRS = "widelinear", "neural-tangents"


def floor_seconds(row):
    """No program on this machine can take less: its arithmetic or its memory traffic alone."""
    case, machine = row["case"], row["machine"]
    return max(case["flops"] / machine["flops"], case["bytes"] / machine["bytes"])


def table(rows):
    """One line of Markdown for each case."""
    lines = []
    for row in rows:
        ours, theirs = row[OURS], row[THEIRS]
        ratio = ours["cpu"] / theirs["cpu"]
        verdict = "met" if ratio <= row["case"]["goal"] else "missed"
        lines.append(
            f"| {row['case']['name']} | {ours['cpu']:.3g} s | {theirs['cpu']:.3g} s | {ratio:.2f} "
            f"| {row['case']['goal']} | {verdict} | {ours['wall'] / theirs['wall']:.2f} "
            f"| {ours['cpu'] / floor_seconds(row):.1f} | {ours['extra_mb']:.0f} | {theirs['extra_mb']:.0f} "
            f"| {ours['first_call_cpu'] / theirs['first_call_cpu']:.2f} |"
        )
    return "\n".join(lines)


def precision_table(rows):
    """One line of Markdown for each network: relative errors of the tangent kernel in float32."""
    lines = []
    for row in rows:
        cells = [
            f"{row[name][key]:.1e}"
            for key in ("diagonal", "near repetitions", "smallest eigenvalue")
            for name in (OURS, THEIRS)
        ]
        lines.append(
            f"| {row['activation']}, {row['depth']} layers | {' | '.join(cells)} | {row['smallest eigenvalue']:.1e} |"
        )
    return lines


def write_tables(path, mark, rows, precision):
    """Put both tables between their marks."""
    speed = "| case | ours | theirs | ratio | goal | | wall | floor | extra MB, ours | theirs | first call |"
    errors = (
        "| network | diagonal, ours | theirs | near repetitions, ours | theirs "
        "| smallest eigenvalue, ours | theirs | double |"
    )
    tables = [speed, "|---" * 11 + "|", table(rows), "", errors, "|---" * 8 + "|", *precision_table(precision)]
    text = path.read_text()
    start = text.index("\n", text.index(f"<!-- {mark}")) + 1
    path.write_text(text[:start] + "\n".join(tables) + "\n" + text[text.index("<!-- end -->", start) :])


def draw(rows, path):
    """CPU time of both as multiples of the floor, case by case."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 0.3 * len(rows) + 1.2), layout="constrained")
    for place, row in enumerate(reversed(rows)):
        floor = floor_seconds(row)
        times = [row[name]["cpu"] / floor for name in (OURS, THEIRS)]
        axes.plot(times, [place, place], color="0.8", zorder=1)
        axes.scatter(times[0], place, color="C0", label=OURS if place == 0 else None, zorder=2)
        axes.scatter(times[1], place, color="C1", marker="s", label=THEIRS if place == 0 else None, zorder=2)
    axes.set_yticks(range(len(rows)), [row["case"]["name"] for row in reversed(rows)], fontsize=7)
    axes.set_xscale("log")
    axes.axvline(1, color="black", lw=0.8)
    axes.set_xlabel("CPU time, as a multiple of the machine's floor")
    figure.legend(loc="outside upper right", ncols=2, fontsize=8, frameon=False)
    figure.savefig(path, dpi=120)
