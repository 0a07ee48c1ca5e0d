"""A bar chart as SVG, readable on light and dark pages."""

import xml.etree.ElementTree as xml

LABEL, BAR, FIGURE, LINE = 390, 400, 90, 24
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
rect { fill: #0b6bcb }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } rect { fill: #58a6ff } }
"""


def bars(title, unit, figures):
    """The figures by their names, each as a bar on one scale."""
    height = LINE * (len(figures) + 2)
    view = {"xmlns": "http://www.w3.org/2000/svg", "viewBox": f"0 0 {LABEL + BAR + FIGURE} {height}", "role": "img", "aria-label": title}
    svg = xml.Element("svg", view)
    xml.SubElement(svg, "style").text = STYLE
    xml.SubElement(svg, "text", {"x": "0", "y": str(LINE * 0.75), "font-weight": "600"}).text = title
    most = max(figures.values())
    for number, (name, figure) in enumerate(figures.items(), 1):
        top, width = LINE * number + LINE / 2, max(1, BAR * figure / most)
        base = str(top + LINE * 0.7)
        xml.SubElement(svg, "text", {"x": str(LABEL - 8), "y": base, "text-anchor": "end"}).text = name
        xml.SubElement(svg, "rect", {"x": str(LABEL), "y": str(top + 3), "width": f"{width:.1f}", "height": str(LINE - 6), "rx": "2"})
        xml.SubElement(svg, "text", {"x": f"{LABEL + width + 6:.1f}", "y": base}).text = f"{figure:,.0f} {unit}"
    xml.indent(svg)
    return xml.tostring(svg, encoding="unicode") + "\n"
