class Rectangle:
    def __init__(self, width, height):
        self.width = width
        self.height = height

    def area(self):
        return self.width * self.height

    def perimeter(self):
        return 2 * (self.width + self.height)

    def scaled(self, factor):
        return Rectangle(self.width * factor, self.height * factor)

    def __repr__(self):
        return f"Rectangle({self.width}, {self.height})"


class Circle:
    def __init__(self, radius):
        self.radius = radius

    def area(self):
        return math.pi * self.radius ** 2

    def perimeter(self):
        return 2 * math.pi * self.radius

    def scaled(self, factor):
        return Circle(self.radius * factor)

    def __repr__(self):
        return f"Circle({self.radius})"


class Triangle:
    def __init__(self, a, b, c):
        self.a = a
        self.b = b
        self.c = c

    def area(self):
        s = self.perimeter() / 2
        return math.sqrt(s * (s - self.a) * (s - self.b) * (s - self.c))

    def perimeter(self):
        return self.a + self.b + self.c

    def scaled(self, factor):
        return Triangle(self.a * factor, self.b * factor, self.c * factor)

    def __repr__(self):
        return f"Triangle({self.a}, {self.b}, {self.c})"


def test_rectangle():
    shape = Rectangle(3, 4)
    assert shape.area() == 12
    assert shape.perimeter() == 14
    assert shape.scaled(2).area() == 48


def test_triangle():
    shape = Triangle(3, 4, 5)
    assert shape.area() == 6
    assert shape.perimeter() == 12
    assert shape.scaled(2).area() == 24
