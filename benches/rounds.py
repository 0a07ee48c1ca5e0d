"""The order of what is measured in turn."""


def order_of_round(names, number):
    """The names in the order of this round, counted from 0. It begins with another one each time and is reversed every second time, so that none
    always comes after the same one."""
    names = list(names)
    start = number % len(names)
    turned = names[start:] + names[:start]
    return turned if number % 2 else turned[::-1]
