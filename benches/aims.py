"""What a benchmark wants, and whether it was met."""


class Aims:
    def __init__(self):
        self.missed = 0

    def check(self, what, figure, unit, most=None, least=None):
        met = figure <= most if least is None else figure >= least
        bound = f"at most {most}" if least is None else f"at least {least}"
        self.missed += not met
        print(f"- {'met' if met else 'MISSED'}: {what}: {figure:.3g}{unit}; {bound}{unit} is wanted", flush=True)
